"""Uncached lists and items: bare Flask, what a typical user would write, the project's parts only, the whole chain."""

from contextlib import ExitStack
from typing import Any

from bench import load
from bench.dataset import Dataset
from bench.servers import BARE, UNCACHED, gunicorn

NAIVE = "naive ORM + marshmallow"
LIST = "list of 50"
ITEM = "one student"


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures."""
    who = {"BENCH_ORGANIZATION": dataset.admins[0].organization_id, "BENCH_USER": dataset.admins[0].user_id}
    settings = dataset.settings(**UNCACHED, **who)
    with ExitStack() as servers:
        bare = servers.enter_context(gunicorn("bench.apps.bare:app", {}))
        naive = servers.enter_context(gunicorn("bench.apps.naive:app", settings))
        lean = servers.enter_context(gunicorn("bench.apps.lean:app", settings))
        api = servers.enter_context(gunicorn("wsgi:app", settings, name="uncached"))
        headers = dataset.headers(api)
        item = f"/api/students/{dataset.made.student_id}/"
        targets = [
            load.Target(BARE, f"{bare}/"),
            load.Target(f"{NAIVE}, {LIST}", f"{naive}/api/students/"),
            load.Target(f"{NAIVE}, {ITEM}", f"{naive}{item}"),
            load.Target(f"no chain, {LIST}", f"{lean}/students/"),
            load.Target(f"whole chain, {LIST}", f"{api}/api/students/?limit=50", headers),
            load.Target(f"whole chain, {ITEM}", f"{api}{item}", headers),
        ]
        found = load.rows(load.interleaved(targets, rounds=rounds, seconds=seconds), against=BARE)
    for what in (LIST, ITEM):
        theirs = found[f"{NAIVE}, {what}"]["requests/s"]
        for row in (f"whole chain, {what}", f"no chain, {what}"):
            if row in found:
                found[row]["times naive"] = round(found[row]["requests/s"] / theirs, 2)
    return found
