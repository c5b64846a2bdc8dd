"""The protocol holds in small worlds, and breaks a promise in them without any one of its rules.

``make check-freshness-model`` explores larger worlds.
"""

import ast
import re

import pytest

from tests.conftest import ROOT
from tests.freshness.explore import explore
from tests.freshness.model import RULES, world_of
from tests.freshness.test_rules import SCENARIOS

SMALL = {
    "one read": world_of(1, (1,)),
    "two reads": world_of(1, (2,)),
    "cut": world_of(1, (2,), cuts=1),
    "crash": world_of(1, (2,), crashes=1),
    "reset": world_of(1, (2,), resets=1),
    "two writers": world_of(2, (2,)),
    "two writers, cut": world_of(2, (2,), cuts=1),
    "two writers, promotion": world_of(2, (2,), promotions=1),
}
# The smallest of these worlds in which a promise breaks without the rule.
NEEDED_IN = {
    "begin": "two reads",
    "floor": "two reads",
    "floor-has-no-epoch": "two writers, cut",
    "maximum": "two writers",
    "end": "two reads",
    "lsn-after-commit": "two reads",
    "epoch-in-key": "cut",
    "identity-in-key": "reset",
    "timeline-in-identity": "two writers, promotion",
    "wait": "cut",
    "unstamped-row": "cut",
    "replica-check": "one read",
    "quarantine": "reset",
    "repair-names": "crash",
    "repair": "crash",
    "pending-bypass": "two reads",
}
# Only the code has this rule: in the model, LSNs decrease only in a promotion.
NOT_IN_THE_MODEL = {"flushed-position"}
# The Python of Debian's PyPy.
PYPY = (3, 9)


@pytest.mark.parametrize("world", SMALL)
def test_the_protocol_keeps_its_promises_in_every_interleaving(world):
    assert explore(SMALL[world]).counterexample is None


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule):
    assert explore(SMALL[NEEDED_IN[rule]], without=rule).counterexample


def test_a_counterexample_is_the_steps_to_a_read_that_misses_a_write():
    *steps, end = explore(SMALL["one read"], without="replica-check").counterexample

    assert "writer 1 answers" in steps
    assert end == "reader A reads the replica and stores it and does not show the writes [1]"


def test_the_model_and_the_code_have_the_same_rules():
    assert NEEDED_IN.keys() == RULES.keys()
    assert SCENARIOS.keys() - NOT_IN_THE_MODEL == RULES.keys()


def test_the_documentation_has_the_same_rules():
    page = (ROOT / "docs" / "freshness.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", page, re.MULTILINE)

    assert {rule: text.replace("`", "") for rule, text in rows} == RULES


@pytest.mark.parametrize("file", ["model.py", "explore.py"])
def test_pypy_can_run_it(file):
    source = (ROOT / "tests" / "freshness" / file).read_text(encoding="utf-8")

    ast.parse(source, feature_version=PYPY)
