"""Everything that the documents refer to exists, and all ways to check a change run the same commands."""

import re
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from campshub.modules import MODULES
from devstack.scaffold.files import SHARED, new_files
from devstack.scaffold.names import Names
from tests.conftest import ROOT
from tests.declared import Declared

DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WORKFLOW = ".github/workflows/ci.yml"
MAKE = re.compile(r"^\s*make ([a-z-]+)$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+|\*)`")
PATH = re.compile(r"`([\w./-]+\.(?:py|lua|conf|ini|sql|sh|yml|toml|md|in|txt))`")
# From the top (`campshub/core/http`) or from `campshub` (`core/http`); an installation creates its own secrets.
TOPS = ("campshub", "core", *MODULES, "tests", "docs", "bench", "devstack", "deploy", "config", "migrations")
FOLDER = re.compile(rf"`((?:{'|'.join(TOPS)})/(?!compose/secrets/)[\w/-]*)`")
MODULE_PAGE = "docs/adding-a-module.md"
# The module that the page builds.
EXAMPLE = Names("equipment", "equipment_item")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


@cache
def project_files() -> list[str]:
    """Return the project's files, without files that tools generate."""
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".")]
    found = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return [path.relative_to(ROOT).as_posix() for path in found if "node_modules" not in path.parts]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_link_targets_exist(document):
    path = ROOT / document
    gone = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()]

    assert gone == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_referenced_tests_exist(document):
    for file, name in TEST.findall((ROOT / document).read_text(encoding="utf-8")):
        source = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        assert source, f"{file} is not there"
        assert name == "*" or re.search(rf"^def {name}\(", source, re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_referenced_files_exist(document):
    named = PATH.findall((ROOT / document).read_text(encoding="utf-8"))
    files = [f"/{path}" for path in project_files()]
    of_example = [name for name in named if document == MODULE_PAGE and EXAMPLE.module in name]

    gone = [name for name in named if not any(path.endswith(f"/{name}") for path in files)]
    assert [name for name in gone if name not in of_example] == []


def test_the_page_on_modules_lists_the_files_that_the_scaffold_writes():
    page = (ROOT / MODULE_PAGE).read_text(encoding="utf-8").partition("\n## 2. ")[0]
    rows = re.findall(r"^\| `([\w./-]+)` \|", page, re.MULTILINE)

    new = {re.sub(r"/\d{4}_", "/00NN_", path) for path in new_files(EXAMPLE)} - {"campshub/equipment/__init__.py"}
    assert set(rows) == new | set(SHARED)


def test_the_page_on_modules_lists_what_a_module_can_declare():
    page = (ROOT / MODULE_PAGE).read_text(encoding="utf-8")
    chapter = page.partition("\n## 3. ")[2].partition("\n## 4. ")[0]
    where = [cells[2] for line in chapter.splitlines() if line.startswith("| ") and len(cells := line.split("|")) == 5]

    assert {field.name for field in fields(Declared)} <= set(re.findall(r"`(\w+)`", " ".join(where)))


def test_make_lists_the_scaffold():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.search(rf"^  make module +\S.*{re.escape(MODULE_PAGE)}$", listed, re.MULTILINE)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document != "CHANGELOG.md"])
def test_referenced_folders_exist(document):
    named = FOLDER.findall((ROOT / document).read_text(encoding="utf-8"))

    assert [name for name in named if not any((top / name).exists() for top in (ROOT, ROOT / "campshub"))] == []


def test_the_glossary_is_in_alphabetical_order():
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^- \*\*(.+?)\*\*( \(\w+\))?", page, re.MULTILINE)

    assert len(terms) > 40
    assert terms == sorted(terms, key=lambda term: "".join(term).casefold())


def test_the_security_page_covers_the_owasp_top_ten_and_names_many_tests():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].split()[0]: row for row in page.splitlines() if row.startswith("| API")}

    assert rows.keys() == {f"API{number}" for number in range(1, 11)}
    assert [item for item, row in rows.items() if not TEST.search(row)] == []
    assert len(TEST.findall(page)) > 60


def test_the_workflow_runs_the_commands_of_the_local_check():
    local = MAKE.findall((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    jobs = yaml.safe_load((ROOT / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    runs = {name: MAKE.findall("\n".join(step.get("run", "") for step in job["steps"])) for name, job in jobs.items()}

    assert local == ["lint", "test"]
    assert runs == {"check": local, "audit": ["audit"]}


def test_the_workflow_runs_on_each_python_version_of_the_readme():
    jobs = yaml.safe_load((ROOT / WORKFLOW).read_text(encoding="utf-8"))["jobs"]
    needed = re.search(r"needs Python ([\d.]+(?:(?:, | or )[\d.]+)+)", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert jobs["check"]["strategy"]["matrix"]["python"] == re.split(r", | or ", needed[1])


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_the_workflow_is_valid(schema):
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [program, "--builtin-schema", schema, WORKFLOW]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commit_hooks_run_commands_of_make_lint():
    lint = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    # Hooks pass the files of the commit, and apply the project's exclusions to them.
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in hooks]

    assert len(entries) == 4
    assert [entry for entry in entries if entry not in lint] == []
