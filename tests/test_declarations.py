"""Each module declares what the tests of all modules need, in a file of its own (tests/declared.py)."""

import pytest

from campshub.modules import MODULES
from tests import declared
from tests.conftest import ROOT
from tests.declared import Declared, Undeclared


def test_every_module_declares_and_nothing_else_does():
    files = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("declared.py")}

    assert files == {"tests", *(f"tests/{module}" for module in MODULES)}
    assert tuple(declared.all_declared()) == MODULES


@pytest.mark.parametrize("module", ["lockers", "e2e"])  # without a folder, and with one that has no such file
def test_a_module_without_the_file_is_named_with_the_file_to_write(module):
    with pytest.raises(Undeclared, match=f"^the module {module} has no tests/{module}/declared.py: write it, as docs/"):
        declared.declared_by(module)


def test_a_file_that_declares_nothing_is_named(monkeypatch):
    from tests.demo import declared as of_demo  # noqa: PLC0415 - only this test changes it

    monkeypatch.setattr(of_demo, "DECLARED", {"budgets": {}})
    with pytest.raises(Undeclared, match=r"^tests/demo/declared.py has no DECLARED = Declared\(...\)"):
        declared.declared_by("demo")


def test_an_entry_belongs_to_one_module():
    found = {"first": Declared(budgets={"GET /x/": 1}), "second": Declared(budgets={"GET /x/": 1})}

    with pytest.raises(Undeclared, match=r"^GET /x/ is among the budgets of first and of second"):
        declared.merged("budgets", found)


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="budget"):
        Declared(budget={"GET /x/": 1})
