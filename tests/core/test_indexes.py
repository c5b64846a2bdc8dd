"""An index for every reference between tables, and for every filter and order of a list.

References are read from the migrated database, filters and orders from the application: a new one fails until its
module declares its index, or the reason why it needs none (``lists`` in tests/<module>/declared.py).
"""

import pytest

from tests.declared import file_of, merged
from tests.surface import operations

INDEXES = """
SELECT t.relname, i.indexrelid::regclass::text, i.indisunique, pg_get_expr(i.indpred, i.indrelid), i.indisvalid,
       ARRAY(SELECT attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY o)
  FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
 WHERE t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
"""
REFERENCES = """
SELECT t.relname, c.conname,
       ARRAY(SELECT attname FROM unnest(c.conkey) k(n) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.n)
  FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
 WHERE c.contype = 'f' AND t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
"""
# The indexes of a month table, compared with those of its parent: a missing one would slow down only that month.
LACKING = """
SELECT p.relname, i.indexrelid::regclass::text FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid
  JOIN pg_index i ON i.indrelid = inhparent
 WHERE p.relkind = 'r' AND NOT EXISTS (
       SELECT FROM pg_inherits a JOIN pg_index own ON own.indexrelid = a.inhrelid
        WHERE a.inhparent = i.indexrelid AND own.indrelid = p.oid AND own.indisvalid)
"""

LISTS = merged("lists")


@pytest.fixture
def indexes(sql):
    """The indexes of every table: name, whether unique, the condition, the columns."""
    found = {}
    for table, name, is_unique, condition, is_valid, columns in sql(INDEXES):
        assert is_valid, name
        found.setdefault(table, []).append((name, is_unique, condition, columns))
    return found


def test_every_reference_has_an_index(sql, indexes):
    references = sql(REFERENCES)
    lacking = [
        (table, name)
        for table, name, columns in references
        if not any(
            condition is None and (set(own[: len(columns)]) == set(columns) or (is_unique and set(own) <= set(columns)))
            for _, is_unique, condition, own in indexes[table]
        )
    ]

    assert lacking == []
    assert len(references) > 15


def test_every_month_has_the_indexes_of_its_table(sql):
    assert sql(LACKING) == []


def test_every_filter_and_order_of_a_list_has_an_index_or_a_reason(app, indexes):
    wrong, looked_at = [], 0
    for operation in operations(app):
        if not operation.endpoint.options.is_page:
            continue
        known = LISTS.get(operation.rule, {})
        schema = operation.endpoint.query_schema
        offered = {field.data_key or name for name, field in schema.load_fields.items()} if schema else set()
        offered |= {f"sort {name.removeprefix('-')}" for name in operation.endpoint.options.sorts}
        undeclared, gone = sorted(offered - known.keys()), sorted(known.keys() - offered)
        wrong += [(operation.rule, what, f"not among the lists of {file_of(operation)}") for what in undeclared]
        wrong += [(operation.rule, what, f"not in the API: remove it from {file_of(operation)}") for what in gone]
        for what in offered & known.keys():
            looked_at += 1
            if not _is_there(known[what], indexes):
                wrong.append((operation.rule, what, known[what]))

    assert wrong == []
    assert LISTS.keys() <= {operation.rule for operation in operations(app)}
    assert looked_at > 40


def _is_there(wanted, indexes):
    if isinstance(wanted, tuple):
        table, *columns = wanted
        beginning = ["organization_id", *columns]
        return any(c is None and own[: len(beginning)] == beginning for _, _, c, own in indexes[table])
    if wanted.startswith("="):
        return any(name == wanted[1:] for own in indexes.values() for name, *_ in own)
    return len(wanted) > 5
