"""The README's tour, run as it is printed, against a real server with demo data."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120
STEP = re.compile(r"```sh\n(.*?)```\n(?:```(?:json)?\n(.*?)```\n)?", re.DOTALL)


def steps() -> list[tuple[str, list[str]]]:
    """Return the tour's commands, each block with the lines that the README shows as its output."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tour = readme[readme.index("## A tour") : readme.index("## Architecture")]
    return [(commands, shown.splitlines()) for commands, shown in STEP.findall(tour)]


def run(folder: Path, *blocks: str) -> list[list[str]]:
    """Run blocks of commands in one shell; return the lines that each block printed."""
    script = "set -euo pipefail\n" + "\necho '=== next'\n".join(blocks)
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [block.splitlines() for block in ran.stdout.split("=== next\n")]


def shape(line: str):
    """Return the names and nesting of a JSON line, without its values; other lines are compared as they are."""

    def of(value):
        if isinstance(value, dict):
            return {key: of(one) for key, one in value.items()}
        return [of(value[0])] if isinstance(value, list) and value else ...

    try:
        return of(json.loads(line))
    except ValueError:
        return line


def test_the_tour_prints_what_the_readme_shows(demo):
    blocks = steps()

    printed = run(demo, *(commands for commands, _ in blocks))

    assert len(printed) == len(blocks) == 12
    for (commands, shown), lines in zip(blocks, printed, strict=True):
        assert [shape(line) for line in lines] == [shape(line) for line in shown], commands
    _, _, lists, marks, *_, program, refusals = printed
    assert all(item["family_name"] == "Sharma" for item in json.loads(lists[1])["items"])
    first, again = (json.loads(line) for line in marks)
    marked = first.pop("created")
    assert marked > 2
    assert again.pop("unchanged") == marked
    assert {*first.values(), *again.values()} == {0}
    assert program[1] == "forbidden"
    assert [error["pointer"] for error in json.loads(refusals[1])] == ["/colour", "/limit"]


def test_pick_shows_the_problem_document_when_the_value_is_missing(demo):
    prepare = steps()[0][0]
    refused = "curl -sS $api/api/students/ | pick items 0 id 2>&1 || true"
    silent = "printf '' | pick items 2>&1 || true"

    _, problem, nothing = run(demo, prepare, refused, silent)

    assert json.loads("".join(problem))["status"] == 401
    assert nothing == ["no JSON in the response: is make run still running?"]
