"""The muscles and the public exercises that every organization reads: files beside this one, CC0, and their seeding."""

from functools import cache
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, text

from campshub.core.db.base import PLATFORM_ID
from campshub.students import names
from campshub.workouts.ownership import platform_id

# The statements name the columns of revision 0004 and no later one: that migration runs them. What a later revision
# adds to these tables, it fills by itself. Rows that are already as the files say are not touched.
_MUSCLES = text(
    """
    INSERT INTO muscles (organization_id, id, key, name, muscle_group, side)
    SELECT organization_id, id, key, name, muscle_group, side
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, key text, name text, muscle_group text,
           side text)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET key = excluded.key, name = excluded.name, muscle_group = excluded.muscle_group, side = excluded.side,
          version = muscles.version + 1, updated_at = now()
      WHERE (muscles.key, muscles.name, muscles.muscle_group, muscles.side)
            IS DISTINCT FROM (excluded.key, excluded.name, excluded.muscle_group, excluded.side)
    """
)
_EXERCISES = text(
    """
    INSERT INTO exercises (organization_id, id, name, sort_name, search_text, aliases, equipment, mechanic, force,
                           level, load_mode, side, metrics, licence, attribution)
    SELECT organization_id, id, name, sort_name, search_text, aliases, equipment, mechanic, force, level, load_mode,
           side, metrics, licence, attribution
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, name text, sort_name text,
           search_text text, aliases text[], equipment text, mechanic text, force text, level text, load_mode text,
           side text, metrics text[], licence text, attribution text)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET name = excluded.name, sort_name = excluded.sort_name, search_text = excluded.search_text,
          aliases = excluded.aliases, equipment = excluded.equipment, mechanic = excluded.mechanic,
          force = excluded.force, level = excluded.level, load_mode = excluded.load_mode, side = excluded.side,
          metrics = excluded.metrics, licence = excluded.licence, attribution = excluded.attribution,
          version = exercises.version + 1, updated_at = now()
      WHERE (exercises.name, exercises.search_text, exercises.aliases, exercises.equipment, exercises.mechanic,
             exercises.force, exercises.level, exercises.load_mode, exercises.side, exercises.metrics,
             exercises.licence, exercises.attribution)
            IS DISTINCT FROM (excluded.name, excluded.search_text, excluded.aliases, excluded.equipment,
             excluded.mechanic, excluded.force, excluded.level, excluded.load_mode, excluded.side, excluded.metrics,
             excluded.licence, excluded.attribution)
    """
)
_SHARES = text(
    """
    INSERT INTO exercise_muscles (organization_id, id, exercise_id, muscle_owner_id, muscle_id, share)
    SELECT organization_id, id, exercise_id, organization_id, muscle_id, share
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, exercise_id uuid, muscle_id uuid,
           share double precision)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET share = excluded.share, version = exercise_muscles.version + 1, updated_at = now()
      WHERE exercise_muscles.share IS DISTINCT FROM excluded.share
    """
)


@cache
def muscle_rows() -> tuple[dict[str, Any], ...]:
    """Return the muscles as their table holds them."""
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
    """Return the keys by which the API names muscles."""
    return tuple(row["key"] for row in muscle_rows())


def muscle_id(key: str) -> Any:
    """Return a muscle's id."""
    return platform_id("muscles", key)


def exercise_id(key: str) -> Any:
    """Return the id of a public exercise."""
    return platform_id("exercises", key)


@cache
def exercise_rows() -> tuple[dict[str, Any], ...]:
    """Return the public exercises as their table holds them."""
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
    """Return the muscles' shares in the public exercises as their table holds them."""
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
    """Return the columns by which an exercise is ordered and searched."""
    return {"sort_name": names.folded(name), "search_text": names.folded(name, *aliases)}


def seed(connection: Connection) -> dict[str, int]:
    """Bring the shared rows to what the files say; return how many rows of each table were written.

    Safe to run again. Needs a role that bypasses policies, since no organization may write the platform's rows.
    """
    tables = (("muscles", _MUSCLES, muscle_rows()), ("exercises", _EXERCISES, exercise_rows()))
    shares = ("exercise_muscles", _SHARES, share_rows())
    return {
        table: connection.execute(statement, {"rows": orjson.dumps(rows).decode()}).rowcount
        for table, statement, rows in (*tables, shares)
    }


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(Path(__file__).with_name(name).read_bytes())
    return read
