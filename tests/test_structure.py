"""The structure of imports: no cycles, the layers of the contracts, and no file without a reason."""

import ast
import tomllib
from collections import defaultdict

import grimp
import pytest

from campshub.modules import MODULES
from devstack.import_contracts import ModuleLayers
from tests.conftest import ROOT
from tests.test_architecture import MOST_LINES


@pytest.fixture(scope="module")
def imports():
    """The graph of imports, including those under ``TYPE_CHECKING``."""
    return grimp.build_graph("campshub", "devstack", exclude_type_checking_imports=False, cache_dir=None)


def _cycles(graph):
    """Return the sets of modules that import each other in a cycle (Tarjan's strongly connected components)."""
    order, lowest, stack, found = {}, {}, [], []

    def visit(module):
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            found.extend([sorted(members)] if len(members) > 1 else [])

    for module in sorted(graph.modules):
        if module not in order:
            visit(module)
    return found


def test_there_are_no_import_cycles(imports):
    assert _cycles(imports) == []


def test_a_cycle_of_type_only_imports_is_found(tmp_path, monkeypatch):
    package = tmp_path / "circle"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from circle import second\n")
    typed = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from circle import first\n"
    (package / "second.py").write_text(typed)
    monkeypatch.syspath_prepend(tmp_path)

    graph = grimp.build_graph("circle", exclude_type_checking_imports=False, cache_dir=None)

    assert _cycles(graph) == [["circle.first", "circle.second"]]


def _contract(start):
    """Return the layers of the import contract with this prefix, each a list of modules."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [contract for contract in contracts if contract["name"].startswith(start)]
    return [layer.split(" | ") for layer in found["layers"]]


def test_every_file_of_core_is_in_a_layer(imports):
    layered = {module for layer in _contract("2.") for module in layer}
    files = {m for m in imports.modules if m.startswith("campshub.core.") and not imports.find_children(m)}

    assert {m for m in files if not any(m == one or m.startswith(f"{one}.") for one in layered)} == set()


def test_every_folder_of_the_product_is_core_or_a_module():
    folders = {path.parent.name for path in (ROOT / "campshub").glob("*/__init__.py")}

    assert folders == {"core", *MODULES}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("campshub.students.models", "campshub.reports.models"),  # a module of a higher layer
        ("campshub.attendance.models", "campshub.workouts.models"),  # of the same layer
        ("campshub.core.paging", "campshub.students.models"),
        ("campshub.config", "campshub.core.errors"),
    ],
)
def test_the_contract_of_the_modules_follows_their_layers(imports, importer, imported):
    contract = ModuleLayers("1.", {"root_packages": ["campshub", "devstack"]}, {})
    assert contract.check(imports, verbose=False).kept

    imports.add_import(importer=importer, imported=imported)
    try:
        assert not contract.check(imports, verbose=False).kept
    finally:
        imports.remove_import(importer=importer, imported=imported)


# Files with one importer that stay separate files, with the reason.
STANDARD_FILES = {"models", "queries", "service", "schemas", "routes", "tasks", "cli", "metrics"}
SINGLE_IMPORTERS = {
    "campshub.accounts.emails": "the texts of e-mails",
    "campshub.analytics.charts": "what charts show belongs to neither the endpoints nor the drawing",
    "campshub.core.charts.bars": "one file for each kind of chart",
    "campshub.core.charts.heat_map": "as above",
    "campshub.core.charts.lines": "as above",
    "campshub.core.http.serializer": "a separate part, which benchmarks and tests use directly",
    "campshub.core.memoized": "a decorator for all modules; so far it saves something in one of them",
    "campshub.core.security.password_blocklist": "the list of passwords belongs beside their check",
    "campshub.core.security.signing": "the signature belongs to security, the manifest to partitions",
    "campshub.reports.formats.csv": "one file for each format",
    "campshub.core.typesetting.fonts": "finding fonts, which an operator reads when letters are missing",
}


def test_a_file_with_one_importer_is_part_of_it(imports):
    """Exceptions: the standard files of a module, and what the app or the service container imports."""
    lonely = {}
    for module in sorted(m for m in imports.modules if m.startswith("campshub.") and not imports.find_children(m)):
        importers = imports.find_modules_that_directly_import(module)
        if len(importers) != 1 or STANDARD_FILES & set(module.split(".")) or module in SINGLE_IMPORTERS:
            continue
        (importer,) = importers
        assembles = importer in {"campshub.app", "campshub.core.http.services", "campshub.core.services"}
        together = sum(len(_source(one).splitlines()) for one in (module, importer))
        same_folder = module.rpartition(".")[0] == importer.rpartition(".")[0]
        if not assembles and not (same_folder and together > MOST_LINES):
            lonely[module] = importer

    assert lonely == {}


# Classes that a library finds by their name, and that it expects several times.
NAMED_BY_LIBRARY = {"Meta"}


def _classes_by_name(root):
    """Return the files of the classes below a folder, nested ones included, by the name of the class."""
    found = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(root).as_posix())
    return found


def test_no_two_classes_have_one_name():
    found = _classes_by_name(ROOT / "campshub")

    assert len(found) > 100
    assert {name: files for name, files in found.items() if len(files) > 1 and name not in NAMED_BY_LIBRARY} == {}


def test_a_second_class_of_a_name_is_found_in_another_class_too(tmp_path):
    (tmp_path / "one.py").write_text("class Roster:\n    pass\n")
    (tmp_path / "other.py").write_text("class Report:\n    class Roster:\n        pass\n")

    assert _classes_by_name(tmp_path) == {"Roster": ["one.py", "other.py"], "Report": ["other.py"]}


def _source(module):
    path = ROOT / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
