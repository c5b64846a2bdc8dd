"""With gevent, a waiting request does not block the others."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping

import pytest

from tests.conftest import ROOT
from tests.issuer import KEYS, Issuer


def run_program(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a program in a process of its own, which gevent changes; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


NOTED = """
def noted(events, work, *given):
    events.append("begun")
    try:
        return work(*given)
    finally:
        events.append("ended")
"""

PROGRAM = """
from gevent import monkey
monkey.patch_all()

import gevent, psycopg
from sqlalchemy import text
from campshub.app import create_app
from campshub.core.db.session import Unit, begin, db
from campshub.core.security.passwords import hash_password

assert psycopg.waiting.wait.__name__ != "wait_c", "psycopg would block the whole worker"
app = create_app()
cache = app.extensions["campshub"].cache

def database():
    with app.app_context():
        session = begin(Unit(engine=db.engines[None]))
        session.execute(text("SELECT pg_sleep(0.4)"))
        session.close()

def redis():
    for number in range(100):
        cache.call(lambda client: client.set("x", number))

def hashing():
    hash_password("x", cost=11)

for work, count in ((database, 8), (redis, 4), (hashing, 2)):
    events = []
    gevent.joinall([gevent.spawn(noted, events, work) for _ in range(count)], raise_error=True)
    # Whatever the machine's speed: work that stops the loop ends before the next one begins.
    assert events == ["begun"] * count + ["ended"] * count, (work.__name__, events)
"""


def test_queries_the_cache_and_hashing_do_not_block_other_requests(stack, database):
    run_program(NOTED + PROGRAM, environment={**stack.environment(database), "LOG_LEVEL": "ERROR"})


ISSUER = """
from gevent import monkey
monkey.patch_all()

import sys, gevent
from jwt.exceptions import PyJWKClientConnectionError
from campshub.core.security.jwks import fetch

events, address = [], sys.argv[1]

def work():
    try:
        fetch(address, within_s=0.5, most_bytes=1000, allows_private=True)
    except PyJWKClientConnectionError:
        return
    raise AssertionError("it was waited for")

gevent.joinall([gevent.spawn(noted, events, work) for _ in range(5)], raise_error=True)
assert events == ["begun"] * 5 + ["ended"] * 5, events
"""


@pytest.mark.parametrize("drips", [False, True])
def test_a_slow_issuer_does_not_block_other_requests(drips):
    issuer, ends = Issuer("ES256"), threading.Event()

    def slowly(handler):
        handler.send_response(200)
        handler.end_headers()
        while not ends.wait(0.05):
            handler.wfile.write(b" " if drips else b"")

    issuer.overrides[KEYS] = slowly
    try:
        run_program(NOTED + ISSUER, f"{issuer.url}{KEYS}")
    finally:
        ends.set()
        issuer.stop()

    assert issuer.requests[KEYS] == 5


SENDING = """
from gevent import monkey
monkey.patch_all()

import io, gevent
from campshub.core.http.responses import AT_ONCE, Download

blocks, turns = 50, []

def other_requests():
    while True:
        gevent.sleep(1e-6)
        turns.append(1)

other = gevent.spawn(other_requests)
for _ in Download(io.BytesIO(bytes(blocks * AT_ONCE)), "text/csv", "register.csv"):
    pass
other.kill()
assert len(turns) > blocks / 2, len(turns)
"""


def test_a_fast_download_yields_after_each_block():
    run_program(SENDING)


STORE = """
from gevent import monkey
monkey.patch_all()

import asyncio, fsspec, gevent
from fsspec.asyn import AsyncFileSystem
from campshub.core.storage import Storage

class Far(AsyncFileSystem):
    async def _info(self, path, **options):
        await asyncio.sleep(0.2)
        return {"name": path, "size": 3, "type": "file"}

fsspec.register_implementation("far", Far)
storage, events = Storage("far://bucket"), []
work = [gevent.spawn(noted, events, storage.size, "a/file") for _ in range(5)]
gevent.joinall(work, raise_error=True)
assert [one.value for one in work] == [3] * 5
assert events == ["begun"] * 5 + ["ended"] * 5, events
"""


def test_an_object_store_request_does_not_block_others():
    run_program(NOTED + STORE)
