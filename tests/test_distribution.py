"""Sharding by organization (Citus) requires that every key of a tenant table contains ``organization_id``.

The tests do not run Citus. They list the remaining obstacles with their reasons; a new obstacle fails a test.
"""

import re

import pytest
from sqlalchemy import text

from campshub.core.db.unit_of_work import unit_of_work

# Users belong to several organizations; their rows would be copied to every node, as a reference table.
GLOBAL_TABLES = {"users", "organizations"}
# Rows of the platform, which every organization reads: the owner has a separate column.
PLATFORM_REFERENCES = {
    "fk_exercise_muscles_muscle_owner_id_muscle_id",
    "fk_workout_log_exercises_exercise_owner_id_exercise_id",
}
# They mark rollups as stale, and record change sets, in the statement that changes the rows; Citus runs them with
# enable_unsafe_triggers.
TRIGGERS = {
    "attendance_codes": "change sets",
    "attendance_records": "change sets, and stale aggregates of groups and students",
    "attendance_sessions": "change sets, and stale outcomes of students, when a session's time changes",
    "enrolments": "change sets",
    "group_trainers": "change sets",
    "groups": "change sets",
    "students": "change sets",
    "workout_log_exercises": "change sets",
    "workout_logs": "change sets, and stale aggregates of weeks",
    "workout_sets": "change sets, and stale aggregates of weeks",
}
# Citus refuses policies with subqueries.
SUBQUERIES = {
    "users": "a user is visible to the organizations of their memberships",
    # Their rows include those of the platform, so they cannot be distributed but copied, as users are.
    "attendance_codes": "joined row by row, for each of which the plain form would read the setting",
    "exercises": "as above",
    "exercise_muscles": "as above",
    "muscles": "as above",
}

_TABLES = "c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
_COLUMN = "a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped"
TENANT_TABLES = f"SELECT c.relname FROM pg_class c JOIN pg_attribute a ON {_COLUMN} WHERE {_TABLES}"
UNIQUE_INDEXES = f"""
    SELECT c.relname AS table_name, i.relname AS name, pg_get_indexdef(i.oid) AS definition
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
     WHERE x.indisunique AND {_TABLES}
"""
FOREIGN_KEYS = f"""
    SELECT c.relname AS table_name, k.conname AS name, k.confrelid::regclass::text AS target,
           pg_get_constraintdef(k.oid) AS definition
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f' AND {_TABLES}
"""
TRIGGERED = f"""
    SELECT DISTINCT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE NOT t.tgisinternal AND {_TABLES}
"""
POLICIES = "SELECT tablename, concat(qual, with_check) AS conditions FROM pg_policies WHERE schemaname = 'public'"


@pytest.fixture
def catalog(context):
    """Run a query of the system catalog."""

    def rows(statement):
        with unit_of_work(system=True, read_only=True) as session:
            return list(session.execute(text(statement)))

    return rows


@pytest.fixture
def tenant_tables(catalog):
    """The tables whose rows belong to organizations."""
    found = {row.relname for row in catalog(TENANT_TABLES)}
    assert {"students", "attendance_records", "workout_sets"} <= found
    return found


def test_unique_indexes_of_tenant_tables_contain_the_organization(catalog, tenant_tables):
    indexes = [row for row in catalog(UNIQUE_INDEXES) if row.table_name in tenant_tables]

    assert len(indexes) > len(tenant_tables)
    assert {row.name for row in indexes if "organization_id" not in row.definition} == set()


def test_foreign_keys_of_tenant_tables_contain_the_organization(catalog, tenant_tables):
    keys = [row for row in catalog(FOREIGN_KEYS) if row.table_name in tenant_tables]
    without = {
        row.name
        for row in keys
        if "organization_id" not in row.definition.split("REFERENCES")[0] and row.target not in GLOBAL_TABLES
    }

    assert len(keys) > 20
    assert without == PLATFORM_REFERENCES


def test_no_foreign_key_of_a_tenant_table_has_an_action_that_cannot_be_distributed(catalog, tenant_tables):
    keys = [row for row in catalog(FOREIGN_KEYS) if row.table_name in tenant_tables]
    refused = re.compile("ON DELETE SET|ON UPDATE (CASCADE|SET)")

    assert {row.name for row in keys if refused.search(row.definition)} == set()
    assert {row.name for row in keys if "NOT VALID" in row.definition} == set()


def test_policies_with_subqueries_are_known(catalog, tenant_tables):
    policies = list(catalog(POLICIES))

    assert tenant_tables <= {row.tablename for row in policies}
    assert {row.tablename for row in policies if "SELECT" in row.conditions.upper()} == set(SUBQUERIES)


def test_triggers_of_tenant_tables_are_known(catalog, tenant_tables):
    assert {row.relname for row in catalog(TRIGGERED)} & tenant_tables == set(TRIGGERS)
