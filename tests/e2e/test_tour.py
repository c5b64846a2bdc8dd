"""The README's tour, run as it is printed, against a real server with demo data."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 60


def walk(folder: Path) -> list[str]:
    """Run the tour's commands in one shell; return what each block printed."""
    readme = (ROOT / "README.md").read_text()
    tour = readme[readme.index("## A tour") : readme.index("## The house")]
    url = json.loads((folder / ".devstack" / "state.json").read_text())["base_url"]
    blocks = re.findall(r"```sh\n(.*?)```", tour, re.DOTALL)
    script = "set -euo pipefail\n" + "\necho; echo '=== next'\n".join(blocks)
    script = script.replace("api=http://127.0.0.1:8000", f"api={url}")
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [block.strip() for block in ran.stdout.split("=== next")]


def test_the_tour_answers_as_printed(demo):
    _, me, lists, marks, conflict, workout, report, program, refusals = walk(demo)

    assert json.loads(me)["role"] == "admin"
    page, found = (json.loads(line) for line in lists.replace("}{", "}\n{").splitlines())
    assert len(page["items"]) == 2
    assert set(page["items"][0]) == {"code", "given_name", "family_name"}
    assert all(item["family_name"] == "Sharma" for item in found["items"])
    assert "'error': 0" in marks
    assert "'conflict': 0" in marks
    assert "'created': 30" in marks
    assert conflict.startswith("conflict")
    log = json.loads(workout)
    assert log["exercises"][0]["sets"][0]["load"] == "225"
    assert report == "%PDF-1.7"
    groups, students = program.splitlines()
    assert set(json.loads(groups)["items"][0]) == {"name", "code"}
    assert students == "forbidden"
    missing, wrong = refusals.replace("}{", "}\n{").splitlines()
    assert json.loads(missing)["code"] == "not_found"
    assert [error["pointer"] for error in json.loads(wrong)["errors"]] == ["/colour", "/limit"]
