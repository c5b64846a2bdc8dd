import pytest
import yaml
from psycopg import sql as psycopg_sql

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.startup_checks import AsynchronousCommit, UnboundRole, WrongLocale
from devstack import databases
from devstack.errors import StackError
from devstack.postgres import LOCALE_OPTIONS
from tests.conftest import ROOT, settings_of

ROLES = {
    "a superuser": ("SUPERUSER", "SELECT"),
    "one that bypasses policies": ("BYPASSRLS", "GRANT campshub_app TO {role}"),
    "one that may become the owner": ("", "GRANT campshub_owner TO {role}"),
}


@pytest.fixture
def role(stack, scratch):
    """Return a factory of login roles on the database itself."""
    name = psycopg_sql.Identifier(f"tested_{scratch}")
    with stack.primary.connect(scratch) as connection:
        yield lambda traits, then: [
            connection.execute(psycopg_sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' " + traits).format(name)),
            connection.execute(psycopg_sql.SQL(then).format(role=name)),
        ]
        connection.execute(psycopg_sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(psycopg_sql.SQL("DROP ROLE {}").format(name))


@pytest.mark.parametrize("kind", ROLES)
def test_the_start_stops_for(stack, scratch, role, kind):
    role(*ROLES[kind])
    given = settings_of(
        stack,
        scratch,
        postgres_user=f"tested_{scratch}",
        postgres_password="x",
        postgres_port=stack.primary.port,
        postgres_replica_host="",
    )

    with pytest.raises(UnboundRole, match="POSTGRES_USER"):
        create_app(given)


def test_the_start_stops_for_commits_that_return_before_they_are_flushed(stack, scratch):
    with stack.primary.connect("postgres") as connection:
        connection.execute(
            psycopg_sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(psycopg_sql.Identifier(scratch))
        )

    with pytest.raises(AsynchronousCommit, match="synchronous_commit"):
        create_app(settings_of(stack, scratch, postgres_replica_host=""))


@pytest.fixture(params=["ENCODING 'UTF8' LC_CTYPE 'C'", "ENCODING 'LATIN1' LC_CTYPE 'C' LOCALE_PROVIDER libc"])
def elsewhere(stack, request):
    """A database whose locale knows only ASCII letters."""
    name = psycopg_sql.Identifier(f"elsewhere_{new_id().hex}")
    with stack.primary.connect() as connection:
        connection.execute(psycopg_sql.SQL("CREATE DATABASE {} TEMPLATE template0 " + request.param).format(name))
        yield name.as_string().strip('"')
        connection.execute(psycopg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_the_start_stops_for_a_database_whose_locale_lacks_letters(stack, elsewhere):
    given = settings_of(stack, elsewhere, postgres_port=stack.primary.port, postgres_replica_host="")

    with pytest.raises(WrongLocale, match=f"POSTGRES_DB: the database {elsewhere} has .* LC_CTYPE C, not") as refusal:
        create_app(given)

    assert "\n" not in str(refusal.value)


def test_migrations_refuse_a_database_whose_locale_lacks_letters(stack, elsewhere):
    with pytest.raises(StackError, match=r"LC_CTYPE C, not C\.UTF-8.*make clean"):
        stack.create_database(elsewhere)
    with pytest.raises(StackError, match=r"bootstrap\.sql.*LC_CTYPE C, not UTF8 and C\.UTF-8"):
        databases.bootstrap(stack.primary, elsewhere)


def test_the_stack_has_trigrams_of_every_script_and_orders_by_code_points(sql):
    assert sql("SELECT cardinality(show_trgm('খাতুন')) > 0, pg_encoding_to_char(encoding), datctype, datcollate"
               " FROM pg_database WHERE datname = current_database()") == [(True, "UTF8", "C.UTF-8", "C")]  # fmt: skip


def test_compose_creates_its_databases_like_the_local_stack():
    compose = yaml.safe_load((ROOT / "docker-compose.high-performance.yml").read_text(encoding="utf-8"))
    options = compose["services"]["postgres-primary"]["environment"]["POSTGRES_INITDB_ARGS"].split()

    assert set(LOCALE_OPTIONS) <= set(options)


def test_every_name_key_is_ordered_byte_by_byte(sql):
    found = sql(
        """
        SELECT c.relname, a.attname, o.collname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_collation o ON o.oid = a.attcollation
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND a.attname IN ('sort_name', 'search_text')
        """
    )

    assert {(table, column) for table, column, _ in found} >= {("users", "sort_name"), ("groups", "search_text")}
    assert {collation for *_, collation in found} == {"C"}


def test_the_application_starts_without_its_database_and_refuses_requests_with_a_retry_time(stack, database):
    app = create_app(settings_of(stack, database, postgres_port=1, postgres_replica_host=""))

    response = app.test_client().post("/api/auth/token/", json={"email": "a@example.org", "password": "x"})

    assert (response.status_code, response.json["code"]) == (503, "unavailable")
    assert response.headers["Retry-After"] == "1"
    assert app.test_client().get("/live/").status_code == 200
    assert app.test_client().get("/ready/").status_code == 503


def test_a_role_that_later_turns_out_to_bypass_the_policies_serves_nothing(stack, scratch, role):
    app = create_app(settings_of(stack, scratch, postgres_port=1, postgres_replica_host=""))
    role("BYPASSRLS", "GRANT campshub_app TO {role}")
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engines[None]
    there = engine.url.set(username=f"tested_{scratch}", password="x", port=stack.primary.port)
    _, options = engine.dialect.create_connect_args(there)
    engine.pool._creator = lambda *_: engine.dialect.connect(**options)

    response = app.test_client().post("/api/auth/token/", json={"email": "a@example.org", "password": "x"})

    assert response.status_code == 500
