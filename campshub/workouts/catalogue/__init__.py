"""The muscles and the public exercises that every organization reads: files in this folder, CC0.

A migration inserts them with its own statements, because a later column must not change an earlier revision.
"""

from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from campshub.core import names
from campshub.core.db.models import PLATFORM_ID
from campshub.workouts.ownership import platform_id


@cache
def muscle_rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of the muscles."""
    return tuple(
        {
            "organization_id": PLATFORM_ID,
            "id": muscle_id(muscle["key"]),
            "key": muscle["key"],
            "name": muscle["name"],
            "muscle_group": muscle["group"],
            "side": muscle["side"],
        }
        for muscle in _read("muscles.json")["muscles"]
    )


def muscle_keys() -> tuple[str, ...]:
    """Return the muscles' keys in the API."""
    return tuple(row["key"] for row in muscle_rows())


def muscle_id(key: str) -> UUID:
    """Return a muscle's id."""
    return platform_id("muscles", key)


def exercise_id(key: str) -> UUID:
    """Return the id of a public exercise."""
    return platform_id("exercises", key)


@cache
def exercise_rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of the public exercises."""
    read = _read("exercises.json")
    rows = []
    for exercise in read["exercises"]:
        row = {name: value for name, value in exercise.items() if name not in ("key", "muscles")}
        row |= {name: read[name] for name in ("licence", "attribution")}
        row |= {"organization_id": PLATFORM_ID, "id": exercise_id(exercise["key"])}
        rows.append(row | searched(row["name"], row["aliases"]))
    return tuple(rows)


@cache
def share_rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of the muscles' shares in the public exercises."""
    return tuple(
        {
            "organization_id": PLATFORM_ID,
            "id": platform_id("exercise_muscles", f"{exercise['key']}:{muscle}"),
            "exercise_id": exercise_id(exercise["key"]),
            "muscle_id": muscle_id(muscle),
            "share": share,
        }
        for exercise in _read("exercises.json")["exercises"]
        for muscle, share in exercise["muscles"].items()
    )


def searched(name: str, aliases: list[str]) -> dict[str, str]:
    """Return the sort and search keys of an exercise."""
    return {"sort_name": names.sort_key(name), "search_text": names.folded(name, *aliases)}


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(Path(__file__).with_name(name).read_bytes())
    return read
