"""A client generated from the document, used the first time: signs in, lists, reads a problem."""

import importlib
import json
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest

PATIENCE_S = 120


@pytest.fixture
def client(demo, monkeypatch):
    """Generate a client from what the server serves; a warning of the generator is a failure."""
    known = json.loads((demo / ".devstack" / "state.json").read_text())
    document = demo / "openapi.json"
    with urllib.request.urlopen(f"{known['base_url']}/api/openapi.json") as served:
        document.write_bytes(served.read())
    generator = Path(sys.executable).parent / "openapi-python-client"
    (demo / "config.yml").write_text("post_hooks: []\n")  # it would format what nobody reads
    made = subprocess.run(
        [
            *(generator, "generate", "--meta", "none", "--path", document, "--config", demo / "config.yml"),
            *("--output-path", demo / "generated_client", "--overwrite", "--fail-on-warning"),
        ],
        cwd=demo,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(demo))
    return known


def test_a_generated_client_works_the_first_time(client):
    the = importlib.import_module
    with the("generated_client").Client(base_url=client["base_url"]) as anyone:
        sign_in = the("generated_client.models.token_in").TokenIn(client["demo"]["email"], client["demo"]["password"])
        token = the("generated_client.api.auth.post_token").sync(client=anyone, body=sign_in)

    with the("generated_client").AuthenticatedClient(client["base_url"], token.access_token) as someone:
        page = the("generated_client.api.students.get_students").sync(client=someone, limit=3)
        first = the("generated_client.api.students.get_one_student").sync(page.items[0].id, client=someone)
        nobody = the("generated_client.api.students.get_one_student").sync(uuid.uuid4(), client=someone)

    assert len(page.items) == 3
    assert page.has_more
    assert first.code == page.items[0].code
    assert first.guardians[0]["name"]
    assert (nobody.status, nobody.code) == (404, "not_found")
