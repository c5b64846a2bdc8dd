"""Real requests and a real job pass the files that docs/architecture.md names, in its order."""

import re
import time

import pytest

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner
from campshub.core.jobs.store import enqueue
from campshub.core.security.permissions import Role
from tests.conftest import ROOT
from tests.walks import files_passed

# A new Redis is in quarantine, and the write of the test is pending, for ten seconds each.
TRUSTED_WITHIN_S = 30
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def named(walk: str) -> list[str]:
    """Return the files that the page names for a walk, in order, each once."""
    section = re.split(r"^## ", ARCHITECTURE, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{walk}\n")]
    return list(dict.fromkeys(re.findall(r"`(campshub/[a-z_/]+\.py)`", text)))


def require_walk(walk: str, passed: list[str]) -> None:
    """Assert that the work passed the files that the page names, in the page's order."""
    assert named(walk) != []
    assert [path for path in named(walk) if path not in passed] == []
    order = [passed.index(path) for path in named(walk)]
    assert order == sorted(order), [passed[number] for number in sorted(order)]


@pytest.fixture
def student(tenant):
    admin = tenant.the(Role.ADMIN)
    return admin.made("/api/students/", {"code": "W-1", "given_name": "Asha", "family_name": "Rao"})


def test_a_read_passes_the_files_of_the_page(tenant, student, record_property):
    admin = tenant.the(Role.ADMIN)
    url = f"/api/students/?limit=7&q={student['given_name']}"

    first = files_passed(lambda: admin.get(url))
    until = time.monotonic() + TRUSTED_WITHIN_S
    while "campshub/core/http/dispatch.py" in (cached := files_passed(lambda: admin.get(url))):
        assert time.monotonic() < until, "no read was served from the cache"
        time.sleep(0.1)

    require_walk("A read", first)
    require_walk("A cached read", cached)
    record_property("figure", f"files passed by a first read: {len(first)}")
    record_property("figure", f"files passed by a cached read: {len(cached)}")


def test_a_write_passes_the_files_of_the_page(tenant, student, record_property):
    admin = tenant.the(Role.ADMIN)
    url = f"/api/students/{student['id']}/"
    admin.patch(url, {"given_name": "Usha"})

    passed = files_passed(lambda: admin.patch(url, {"given_name": "Asha"}))

    require_walk("A write", passed)
    record_property("figure", f"files passed by a PATCH: {len(passed)}")


def test_a_job_passes_the_files_of_the_page(tenant, record_property):
    with tenant.app.app_context(), unit_of_work(organization_id=tenant.id) as session:
        job = enqueue(session, "rollups.fold")

    with tenant.app.app_context():
        passed = files_passed(lambda: runner.run_one(tenant.app.extensions["campshub"], tenant.id, job))

    require_walk("A job", passed)
    record_property("figure", f"files passed by a job: {len(passed)}")
