"""One key for every name that is searched or sorted, ordered byte by byte; people with one name; the search in words.

Existing rows get their keys in Python, in batches. The keys of exercises are unique in a list: where two names have
become one (Łydka, Lydka), the later exercise is renamed with a number after it. Going back keeps the new keys in the
columns that there were before.

Revision ID: 0029
Revises: 0028
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from campshub.core.names import sort_key
from campshub.students import names
from campshub.workouts import catalogue
from migrations import ddl

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

BATCH = 5_000
KEY = sa.Text(collation="C")
KEYS = {"students": ("sort_name", "search_text"), "exercises": ("sort_name", "search_text")}
# Indexes by name, columns after the organization, condition.
ON_KEYS = (
    ("ix_students_sort_name_id", "students", ("sort_name", "id"), None),
    ("ix_students_status_sort_name_id", "students", ("status", "sort_name", "id"), None),
    ("ix_students_deleted", "students", ("sort_name", "id"), "deleted_at IS NOT NULL"),
    ("ix_exercises_sort_name_id", "exercises", ("sort_name", "id"), None),
)
GROUPS_BEFORE = (("name", "id"), ("status", "name", "id"), ("kind", "name", "id"))
GROUPS_NOW = (("sort_name", "id"), ("status", "sort_name", "id"), ("kind", "sort_name", "id"))

# Trigram operators and LIKE are not leak-proof: under a policy they could not use their index. So these functions see
# past the policy, and take the tenant from the setting themselves. They find; the caller filters, ranks and pages.
# The first pattern is the one by which the index is asked; each word of a search text follows a blank, which the
# trigrams of a word's first letters hold.
WORDS = """
CREATE FUNCTION students_with_words(patterns text) RETURNS TABLE (student_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200
SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT s.id FROM students s
   WHERE s.organization_id = NULLIF(current_setting('app.organization_id', true), '')::uuid
     AND s.search_text LIKE split_part(patterns, E'\\n', 1)
     AND s.search_text LIKE ALL (string_to_array(patterns, E'\\n'))
$$
"""
# Where a thousand have the words as they were typed, those who have similar ones are left out and no one is ranked:
# both are dear, and the page would show none of them.
SEARCH = """
CREATE FUNCTION search_students(words text, starts text) RETURNS TABLE (student_id uuid, is_ranked boolean)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200
SET search_path = pg_catalog, public, pg_temp SET pg_trgm.word_similarity_threshold = 0.35 AS $$
  WITH typed AS MATERIALIZED (SELECT w.student_id FROM students_with_words(starts) w),
       counted AS MATERIALIZED (SELECT count(*) >= 1000 AS are_many FROM typed)
  SELECT t.student_id, false FROM typed t WHERE (SELECT c.are_many FROM counted c)
   UNION ALL
  SELECT s.id, true FROM students s
   WHERE NOT (SELECT c.are_many FROM counted c)
     AND s.organization_id = NULLIF(current_setting('app.organization_id', true), '')::uuid
     AND words <% s.search_text
$$
"""
SEARCH_BEFORE = """
CREATE FUNCTION search_students(words text, most int) RETURNS TABLE (student_id uuid, distance int)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET pg_trgm.word_similarity_threshold = 0.35 AS $$
  SELECT c.id, (1000 * ((words <<-> c.search_text) + (words <<<-> c.search_text)
                        + (words <-> c.search_text) / 10))::int AS distance
    FROM (SELECT s.id, s.search_text FROM students s
           WHERE s.organization_id = NULLIF(current_setting('app.organization_id', true), '')::uuid
             AND words <% s.search_text
           LIMIT 5000) AS c
   ORDER BY 2, 1 LIMIT most
$$
"""
# The one user of an e-mail address: made, with a password, where there is none yet.
ADD_USER = """
CREATE FUNCTION add_user(new_id uuid, new_email text, new_email_key text, new_name text, {parameter}hashed text,
  OUT user_id uuid, OUT made boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO users (id, email, email_key, name{column}) VALUES (new_id, new_email, new_email_key, new_name{value})
    ON CONFLICT (email_key) DO NOTHING RETURNING id INTO user_id;
  made := user_id IS NOT NULL;
  IF made THEN
    INSERT INTO user_credentials (user_id, password_hash, changed_at) VALUES (new_id, hashed, now());
  ELSE
    SELECT u.id INTO user_id FROM users u WHERE u.email_key = new_email_key;
  END IF;
END $$
"""
ADD_USER_NOW = ADD_USER.format(parameter="new_sort_name text, ", column=", sort_name", value=", new_sort_name")
ADD_USER_BEFORE = ADD_USER.format(parameter="", column="", value="")


def upgrade() -> None:
    _drop_indexes(GROUPS_BEFORE)
    for column in ("sort_name", "search_text"):
        op.add_column("groups", sa.Column(column, KEY, nullable=True))
    op.add_column("users", sa.Column("sort_name", KEY, nullable=True))
    _change_types(KEY)
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    _rewrite("students", ("code", "given_name", "family_name", "preferred_name"), _student)
    _rewrite("groups", ("code", "name"), lambda row: names.group_keys(row.code, row.name))
    _rewrite("users", ("name",), lambda row: {"sort_name": sort_key(row.name)}, key=("id",))
    _rewrite("exercises", ("name", "aliases", "owner_user_id", "deleted_at"), _exercises())
    op.execute("SET ROLE campshub_owner")
    for table, column in (("groups", "sort_name"), ("groups", "search_text"), ("users", "sort_name")):
        op.alter_column(table, column, nullable=False)
    op.create_check_constraint(op.f("ck_students_named"), "students", "given_name <> '' OR family_name <> ''")
    _make_indexes(GROUPS_NOW)  # before the search: they load pg_trgm, whose setting it has
    op.execute("DROP FUNCTION search_students(text, int)")
    ddl.definer_function("students_with_words(text)", WORDS)
    ddl.definer_function("search_students(text, text)", SEARCH)
    op.execute("DROP FUNCTION add_user(uuid, text, text, text, text)")
    ddl.definer_function("add_user(uuid, text, text, text, text, text)", ADD_USER_NOW)


def downgrade() -> None:
    op.execute("DROP FUNCTION add_user(uuid, text, text, text, text, text)")
    ddl.definer_function("add_user(uuid, text, text, text, text)", ADD_USER_BEFORE)
    op.execute("DROP FUNCTION search_students(text, text)")
    op.execute("DROP FUNCTION students_with_words(text)")
    op.drop_constraint(op.f("ck_students_named"), "students")
    _drop_indexes(GROUPS_NOW)
    for column in ("sort_name", "search_text"):
        op.drop_column("groups", column)
    op.drop_column("users", "sort_name")
    _change_types(sa.Text(collation="default"))
    _make_indexes(GROUPS_BEFORE)
    ddl.definer_function("search_students(text, int)", SEARCH_BEFORE)


def _drop_indexes(groups: tuple[tuple[str, ...], ...]) -> None:
    """Drop the indexes on the keys: the rows are rewritten without them, and they are built once."""
    for columns in groups:
        op.drop_index(f"ix_groups_{'_'.join(columns)}", "groups")
    for name, table, _, _ in ON_KEYS:
        op.drop_index(name, table)
    op.drop_index("ix_students_search", "students")
    op.drop_index("uq_exercises_name", "exercises")


def _make_indexes(groups: tuple[tuple[str, ...], ...]) -> None:
    for columns in groups:
        op.create_index(f"ix_groups_{'_'.join(columns)}", "groups", ["organization_id", *columns])
    for name, table, columns, where in ON_KEYS:
        condition = sa.text(where) if where else None
        op.create_index(name, table, ["organization_id", *columns], postgresql_where=condition)
    op.create_index(
        "ix_students_search",
        "students",
        ["organization_id", sa.literal_column("search_text gin_trgm_ops")],
        postgresql_using="gin",
    )
    op.create_index(
        "uq_exercises_name",
        "exercises",
        ["organization_id", "owner_user_id", "sort_name"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _change_types(type_: sa.Text) -> None:
    for table, columns in KEYS.items():
        for column in columns:
            op.alter_column(table, column, type_=type_, existing_nullable=False)


def _rewrite(
    table: str,
    read: tuple[str, ...],
    keys_of: Callable[[Any], dict[str, str]],
    *,
    key: tuple[str, ...] = ("organization_id", "id"),
) -> None:
    """Give the rows of a table their keys."""
    connection = op.get_bind()
    for rows in _batches(connection, table, read, key):
        changes = [{**{name: getattr(row, name) for name in key}, **keys_of(row)} for row in rows]
        written = [name for name in changes[0] if name not in key]
        columns = {name: [change[name] for change in changes] for name in changes[0]}
        arrays = ", ".join(f"CAST(:{name} AS {'uuid' if name in key else 'text'}[])" for name in columns)
        same = " AND ".join(f"t.{name} = n.{name}" for name in key)
        settings = ", ".join(f"{name} = n.{name}" for name in written)
        done = connection.execute(
            sa.text(
                f"UPDATE {table} t SET {settings} FROM unnest({arrays}) AS n({', '.join(columns)}) WHERE {same}"  # noqa: S608 - our own names
            ),
            columns,
        )
        if done.rowcount != len(changes):
            raise RuntimeError(f"{table}: {done.rowcount} rows were written instead of {len(changes)}")


def _batches(connection: sa.Connection, table: str, read: tuple[str, ...], key: tuple[str, ...]) -> Iterator[Any]:
    names_ = ", ".join((*key, *read))
    after = ", ".join(f":{name}" for name in key)
    place: dict[str, Any] = dict.fromkeys(key, UUID(int=0))
    while rows := connection.execute(
        sa.text(
            f"SELECT {names_} FROM {table} WHERE ({', '.join(key)}) > ({after}) ORDER BY {', '.join(key)} LIMIT {BATCH}"  # noqa: S608 - our own names
        ),
        place,
    ).all():
        yield rows
        place = {name: getattr(rows[-1], name) for name in key}


def _student(row: Any) -> dict[str, str]:
    return {
        "sort_name": names.sort_name(row.given_name, row.family_name),
        "search_text": names.search_text(row.code, row.given_name, row.family_name, row.preferred_name),
    }


def _exercises() -> Callable[[Any], dict[str, str]]:
    """Return what gives an exercise its keys, and another name where its list has the key already."""
    taken: set[tuple[Any, ...]] = set()

    def keys_of(row: Any) -> dict[str, str]:
        name, number = row.name, 1
        while row.deleted_at is None and (row.organization_id, row.owner_user_id, sort_key(name)) in taken:
            number += 1
            name = f"{row.name} ({number})"
        if row.deleted_at is None:
            taken.add((row.organization_id, row.owner_user_id, sort_key(name)))
        return {"name": name, **catalogue.searched(name, row.aliases)}

    return keys_of
