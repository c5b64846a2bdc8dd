"""The files of a new module: those that are its own, and the new texts of those that all modules share."""

from collections.abc import Callable
from pathlib import Path
from string import Template

from devstack.scaffold import shared
from devstack.scaffold.names import Names
from devstack.workspace import REPOSITORY

TEMPLATES = Path(__file__).parent / "templates"
REVISIONS = "migrations/versions"
SHARED: dict[str, Callable[[str, Names], str]] = {
    "campshub/modules.py": shared.modules,
    "campshub/core/security/permissions.py": shared.permissions,
    "docs/api.md": shared.api_page,
    "CHANGELOG.md": shared.changelog,
}


def new_files(names: Names) -> dict[str, str]:
    """Return the new files: their paths and texts."""
    revisions = sorted(path.name[:4] for path in (REPOSITORY / REVISIONS).glob("[0-9][0-9][0-9][0-9]_*.py"))
    revision = f"{int(revisions[-1]) + 1:04}"
    values = {**names.placeholders(), "revision": revision, "previous": revisions[-1]}
    paths = {
        **{
            f"campshub/{path.name}": f"campshub/{names.module}/{path.stem}"
            for path in TEMPLATES.glob("campshub/*.tmpl")
        },
        "migration.py.tmpl": f"{REVISIONS}/{revision}_{names.module}.py",
        "tests/conftest.py.tmpl": f"tests/{names.module}/conftest.py",
        "tests/declared.py.tmpl": f"tests/{names.module}/declared.py",
        "tests/test_module.py.tmpl": f"tests/{names.module}/test_{names.table}.py",
    }
    return {
        path: Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
        for template, path in sorted(paths.items(), key=lambda pair: pair[1])
    }


def shared_files(names: Names) -> dict[str, str]:
    """Return the new texts of the files that all modules share."""
    return {path: add((REPOSITORY / path).read_text(encoding="utf-8"), names) for path, add in SHARED.items()}
