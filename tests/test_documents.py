"""What documents refer to is there."""

import re
from functools import cache

import pytest

from tests.conftest import ROOT

DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+|\*)`")
PATH = re.compile(r"`([\w./-]+\.(?:py|lua|conf|ini|sql|sh|yml|toml|md|in|txt))`")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


@cache
def project_files() -> list[str]:
    """Return the project's files, without those that tools have left behind."""
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".")]
    found = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return [path.relative_to(ROOT).as_posix() for path in found if "node_modules" not in path.parts]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    gone = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()]

    assert gone == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tests_that_are_named_exist(document):
    for file, name in TEST.findall((ROOT / document).read_text(encoding="utf-8")):
        source = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        assert source, f"{file} is not there"
        assert name == "*" or re.search(rf"^def {name}\(", source, re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    named = PATH.findall((ROOT / document).read_text(encoding="utf-8"))
    files = [f"/{path}" for path in project_files()]

    assert [name for name in named if not any(path.endswith(f"/{name}") for path in files)] == []


def test_the_page_on_security_proves_each_of_the_ten_and_names_many_tests():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].split()[0]: row for row in page.splitlines() if row.startswith("| API")}

    assert rows.keys() == {f"API{number}" for number in range(1, 11)}
    assert [item for item, row in rows.items() if not TEST.search(row)] == []
    assert len(TEST.findall(page)) > 60
