import pytest
from psycopg import sql as words

from campshub.app import create_app
from campshub.core.db.roles import AsynchronousCommit, UnboundRole
from tests.conftest import settings_of

ROLES = {
    "a superuser": ("SUPERUSER", "SELECT"),
    "one that bypasses policies": ("BYPASSRLS", "GRANT campshub_app TO {role}"),
    "one that may become the owner": ("", "GRANT campshub_owner TO {role}"),
}


@pytest.fixture
def role(stack, scratch):
    """Return a maker of login roles, seen by PostgreSQL directly."""
    name = words.Identifier(f"tested_{scratch}")
    with stack.primary.connect(scratch) as connection:
        yield lambda traits, then: [
            connection.execute(words.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' " + traits).format(name)),
            connection.execute(words.SQL(then).format(role=name)),
        ]
        connection.execute(words.SQL("DROP OWNED BY {}").format(name))
        connection.execute(words.SQL("DROP ROLE {}").format(name))


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


def test_the_start_stops_where_commits_are_answered_before_they_are_flushed(stack, scratch):
    with stack.primary.connect("postgres") as connection:
        connection.execute(
            words.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(words.Identifier(scratch))
        )

    with pytest.raises(AsynchronousCommit, match="synchronous_commit"):
        create_app(settings_of(stack, scratch, postgres_replica_host=""))


def test_the_start_goes_on_while_the_database_is_away_and_requests_are_told(stack, database):
    app = create_app(settings_of(stack, database, postgres_port=1, postgres_replica_host=""))

    answer = app.test_client().post("/api/auth/token/", json={"email": "a@example.org", "password": "x"})

    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert app.test_client().get("/live/").status_code == 200
    assert app.test_client().get("/ready/").status_code == 503


def test_a_role_that_turns_out_to_be_unbound_later_serves_nothing(stack, scratch, role):
    app = create_app(settings_of(stack, scratch, postgres_port=1, postgres_replica_host=""))
    role("BYPASSRLS", "GRANT campshub_app TO {role}")
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engines[None]
    there = engine.url.set(username=f"tested_{scratch}", password="x", port=stack.primary.port)
    _, options = engine.dialect.create_connect_args(there)
    engine.pool._creator = lambda *_: engine.dialect.connect(**options)

    answer = app.test_client().post("/api/auth/token/", json={"email": "a@example.org", "password": "x"})

    assert answer.status_code == 500
