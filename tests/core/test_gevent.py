"""Under gevent a request that waits lets the others go on."""

import os
import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
from gevent import monkey
monkey.patch_all()

import time, gevent, psycopg
from sqlalchemy import text
from campshub.app import create_app
from campshub.core.db.session import Unit, begin, db
from campshub.core.security.passwords import hash_password

assert psycopg.waiting.wait.__name__ != "wait_c", "psycopg would block the whole worker"
app = create_app()
cache = app.extensions["campshub"].cache
turns = []

def ticking():
    while True:
        turns.append(time.monotonic())
        gevent.sleep(0.005)

def database():
    with app.app_context():
        session = begin(Unit(engine=db.engines[None]))
        session.execute(text("SELECT pg_sleep(0.4)"))
        session.close()

def redis():
    for number in range(100):
        cache.ask(lambda client: client.set("x", number))

ticker = gevent.spawn(ticking)
gevent.sleep(0.05)
started = time.monotonic()
for work, count in ((database, 8), (redis, 4), (lambda: hash_password("x", cost=11), 2)):
    gevent.joinall([gevent.spawn(work) for _ in range(count)], raise_error=True)
ended = time.monotonic()
ticker.kill()
gaps = [b - a for a, b in zip(turns, turns[1:])]
assert len(gaps) > 20 and max(gaps) < 0.25, f"everything stood still for {max(gaps):.2f} s"
assert ended - started < 8 * 0.4 + 1, "queries ran one after the other"
"""


def test_queries_the_cache_and_hashing_let_others_go_on(stack, database):
    environment = {**os.environ, **stack.environment(database), "LOG_LEVEL": "ERROR"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
