"""PgBouncer with the project's file: which roles can connect, and that a shared connection carries no state over."""

import shutil
import stat

import psycopg
import pytest

from campshub.core.db.models import new_id
from devstack import keys, workspace
from devstack.pgbouncer import PgBouncer

SEEN = "SELECT id FROM organizations"


@pytest.fixture(scope="module")
def one_connection(stack, database, tmp_path_factory):
    """A separate PgBouncer before the same database, with a single server connection."""
    here = workspace.make(tmp_path_factory.mktemp("pgbouncer"))
    shutil.copyfile(stack.directory / "secrets.json", here.directory / "secrets.json")
    pool = {"default_pool_size": "1", "min_pool_size": "0", "reserve_pool_size": "0"}
    pgbouncer = PgBouncer(here, stack.primary, database, pool)
    pgbouncer.start()
    yield pgbouncer
    pgbouncer.stop()
    shutil.rmtree(here.runtime, ignore_errors=True)


@pytest.fixture
def connect(one_connection, database):
    """Connect as a role, without prepared statements, like the application behind this PgBouncer."""
    made = []

    def connect(role="app", name=database):
        made.append(psycopg.connect(one_connection.dsn(name, role), prepare_threshold=None))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def console(connect, role):
    """PgBouncer's admin database, which has no transactions."""
    connection = connect(role, "pgbouncer")
    connection.autocommit = True
    return psycopg.ClientCursor(connection)


@pytest.mark.parametrize("role", ["app", "migrator", "system", "maintenance", "readonly"])
def test_each_role_connects_as_itself(connect, role):
    assert connect(role).execute("SELECT current_user").fetchone() == (f"campshub_{role}",)


@pytest.mark.parametrize("user", ["postgres", "campshub_owner", "campshub_replicator", "nobody"])
def test_no_other_role_can_connect(one_connection, database, user):
    secrets = keys.load(one_connection.workspace)
    known = {"postgres": secrets["postgres"], "campshub_replicator": secrets["replicator"]}
    address = one_connection.dsn(database).rpartition("@")[2]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://{user}:{known.get(user, 'x')}@{address}")


def test_a_wrong_password_is_refused(one_connection, database):
    address = one_connection.dsn(database).rpartition("@")[2]
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(f"postgresql://campshub_app:wrong@{address}")
    assert stat.S_IMODE((one_connection.folder / "userlist.txt").stat().st_mode) == 0o600


def test_two_tenants_on_one_server_connection_see_only_their_own_rows(connect, tenant, other):
    clients = {tenant.id: connect(), other.id: connect()}
    servers = set()
    for _ in range(20):
        for organization_id, client in clients.items():
            client.execute("SELECT set_config('app.organization_id', %s, true)", [str(organization_id)])
            servers |= {client.execute("SELECT pg_backend_pid()").fetchone()}
            shown = [row[0] for row in client.execute(SEEN)]
            assert organization_id in shown
            assert not {tenant.id, other.id} - {organization_id} & set(shown)
            client.commit()
    assert len(servers) == 1

    third = connect()  # without a tenant, on the connection of the other two
    assert third.execute("SELECT pg_backend_pid()").fetchone() in servers
    assert not {tenant.id, other.id} & {row[0] for row in third.execute(SEEN)}


def test_settings_of_a_broken_transaction_are_reset(connect, tenant):
    first, second = connect(), connect()
    first.execute("SELECT set_config('app.organization_id', %s, true)", [str(tenant.id)])
    with pytest.raises(psycopg.errors.DivisionByZero):
        first.execute("SELECT 1 / 0")
    first.rollback()
    first.execute("SELECT set_config('app.organization_id', %s, true)", [str(new_id())])
    first.close()  # in the middle of a transaction

    assert second.execute("SELECT current_setting('app.organization_id', true)").fetchone()[0] in (None, "")


def test_a_client_that_waits_too_long_for_a_connection_is_refused(connect):
    console(connect, "maintenance").execute("SET query_wait_timeout = 1")
    connect().execute("SELECT 1")  # and keeps the server connection

    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        connect().execute("SELECT 1")

    console(connect, "maintenance").execute("RELOAD")  # restores the value from the file


def test_the_file_is_in_force_and_its_console_is_only_for_operators(connect):
    shown = console(connect, "readonly").execute("SHOW CONFIG").fetchall()
    now = {row[0]: row[1] for row in shown}

    assert now["pool_mode"] == "transaction"
    assert now["auth_type"] == "scram-sha-256"
    assert now["server_reset_query_always"] == "0"
    assert (now["query_wait_timeout"], now["max_client_conn"], now["default_pool_size"]) == ("2", "4000", "1")
    with pytest.raises(psycopg.Error, match="admin access needed"):
        console(connect, "readonly").execute("PAUSE")
    with pytest.raises(psycopg.OperationalError):
        connect("app", "pgbouncer")
