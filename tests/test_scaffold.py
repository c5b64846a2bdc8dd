"""`make module` in a copy of the tree: what it writes passes the linters, its own tests and the central ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.scaffold import shared
from devstack.scaffold.files import SHARED
from devstack.scaffold.names import Names, UnfitName, names_of
from tests.conftest import ROOT

NAME = "equipment"
TOOLS = Path(sys.executable).parent
# Tests of all modules, each of which fails for a module that lacks an entry.
CENTRAL = (
    "tests/test_declarations.py",
    "tests/test_budgets.py::test_every_operation_stays_within_its_statement_budget",
    "tests/test_examples.py",
    "tests/test_claims.py",
    "tests/test_documents.py",
    "tests/test_structure.py",
    "tests/core/test_indexes.py",
    "tests/core/test_tags.py::test_every_cached_response_names_the_tags_of_all_that_it_reads",
    "tests/core/test_tags.py::test_every_operation_stamps_the_tags_of_all_that_it_changes",
    "tests/test_openapi.py::test_operations_have_a_name_a_tag_a_permission_and_their_problems",
    "tests/test_architecture.py::test_the_models_match_the_migrations",
    "tests/test_architecture.py::test_policies_are_enabled_and_forced_on_every_table_and_partition",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with the tools' caches, and with a module that the scaffold has written."""
    copy = tmp_path_factory.mktemp("scaffold") / "campshub"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in filter(lambda path: (ROOT / path).is_file(), listed.split("\0")):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path)
    if (ROOT / ".mypy_cache").exists():  # a cold run of mypy takes half a minute
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)  # tests list the project's files
    made = run(copy, sys.executable, "-m", "devstack.scaffold", NAME)
    assert made.returncode == 0, made.stderr
    subprocess.run(["git", "add", "--all"], cwd=copy, check=True)
    yield copy
    shutil.rmtree(copy)


def run(tree, *command, **environment):
    """Run a command in a tree."""
    # Not the variables with which the coverage of this run would be measured in the copy, too.
    given = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    given |= environment
    return subprocess.run(command, cwd=tree, env=given, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "campshub", "devstack"),
        ("lint-imports",),
        ("python", "-m", "tests.wordlist"),
    ],
    ids=" ".join,
)
def test_a_new_module_passes_the_linters(tree, command):
    program, *arguments = command
    done = run(tree, str(TOOLS / program), *arguments)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def stack_folder(tmp_path):
    """A folder for the stack of the copy, which is removed with the servers' data."""
    folder = str(tmp_path / "stack")
    yield folder
    removed = run(ROOT, sys.executable, "-m", "devstack", "remove", DEVSTACK_DIR=folder)
    assert removed.returncode == 0, removed.stderr


def test_a_new_module_passes_its_own_and_the_central_tests(tree, stack_folder):
    command = [str(TOOLS / "pytest"), "--module", NAME, f"tests/{NAME}", *CENTRAL]
    done = run(tree, *command, TEST_STACK_DIR=stack_folder, PYTEST_XDIST_WORKER="", PYTEST_ADDOPTS="")

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_module_touches_four_shared_files(tree):
    changed = {
        path
        for path in subprocess.run(
            ["git", "ls-files"], cwd=tree, capture_output=True, text=True, check=True
        ).stdout.split()
        if (ROOT / path).exists() and (ROOT / path).read_bytes() != (tree / path).read_bytes()
    }

    assert changed == {*SHARED, "docs/permissions.md"}  # the last one is generated
    assert len(SHARED) == 4


def test_a_second_module_can_be_added_after_the_first(tree):
    names = Names("sick_notes", "sick_note")
    for path, add in SHARED.items():
        before = (tree / path).read_text(encoding="utf-8")
        assert len(add(before, names)) > len(before)

    assert '"equipment", "sick_notes"),' in shared.modules((tree / "campshub/modules.py").read_text(), names)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("", None, "name the module: make module name=equipment"),
        ("Equipment", None, "is no identifier: use lower-case letters, digits and _"),
        ("2nd", None, "is no identifier"),
        ("sick-notes", None, "is no identifier"),
        ("sick__notes", None, "is no identifier"),
        ("../evil", None, "is no identifier"),
        ("ab", None, "has 2 characters: use 3 to 24"),
        ("a" * 25, None, "has 25 characters"),
        ("class", None, "class has a meaning of its own in the code: choose another name"),
        ("imports", None, "import has a meaning of its own in the code: choose another row"),
        ("lists", None, "list has a meaning of its own"),
        ("core", None, "campshub/core exists: choose another name"),
        ("modules", None, "campshub/modules.py exists"),
        ("students", None, "campshub/students exists"),
        ("freshness", None, "tests/freshness exists"),
        ("gear", "status", "'status' has no plural that ends in a single s"),
        ("gear", "student", "the table students exists"),
        ("gear", "log", "the path parameter log_id exists"),
        ("medical", None, "the permission medical exists"),
    ],
)
def test_an_unfit_name_is_refused_with_what_to_do(name, row, message):
    with pytest.raises(UnfitName) as refused:
        names_of(name, row, ROOT)

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "row", "entity", "table", "url"),
    [
        ("equipment", None, "equipment_item", "equipment_items", "/api/equipment/"),
        ("equipment", "device", "device", "devices", "/api/equipment/"),
        ("lockers", None, "locker", "lockers", "/api/lockers/"),
        ("deliveries", None, "delivery", "deliveries", "/api/deliveries/"),
        ("sick_notes", None, "sick_note", "sick_notes", "/api/sick-notes/"),
    ],
)
def test_names_follow_from_the_modules_name(name, row, entity, table, url):
    names = names_of(name, row, ROOT)

    assert (names.entity, names.table, names.url) == (entity, table, url)


def test_an_unfit_name_is_one_line_and_writes_nothing(tree):
    before = sorted(tree.rglob("*"))
    done = run(tree, "make", "--silent", "module", "name=Sick-Notes", f"BIN={TOOLS}", "READY=")

    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert (done.returncode, done.stdout) == (2, "")
    assert lines == ["name='Sick-Notes' is no identifier: use lower-case letters, digits and _, as in sick_notes"]
    assert sorted(tree.rglob("*")) == before
