"""What documents refer to is there."""

import re

import pytest

from tests.conftest import ROOT

DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+|\*)`")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


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


def test_the_page_on_security_proves_each_of_the_ten_and_names_many_tests():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].split()[0]: row for row in page.splitlines() if row.startswith("| API")}

    assert rows.keys() == {f"API{number}" for number in range(1, 11)}
    assert [item for item, row in rows.items() if not TEST.search(row)] == []
    assert len(TEST.findall(page)) > 60
