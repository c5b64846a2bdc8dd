"""The stack as a whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devstack import databases, keys, workspace
from devstack.api import Api
from devstack.background import Beat, Celery, Worker
from devstack.errors import StackError
from devstack.nginx import Nginx
from devstack.part import Part
from devstack.pgbouncer import PgBouncer
from devstack.ports import LOOPBACK
from devstack.postgres import NOT_DURABLE, Primary
from devstack.redis import Redis
from devstack.replica import Replica

CATCH_UP_S = 30.0
# How scripts and checks find a running stack.
STATE_FILE = "state.json"


class Stack:
    """A local stack in a folder.

    Its state (ports, passwords, process ids) is in the folder, so another process that creates a ``Stack`` of the same
    folder with the same arguments can use and stop what this one started.

    :param directory: the stack's folder; created when missing.
    :param replica: run a streaming replica.
    :param pgbouncer: run PgBouncer in front of the primary, and a second one in front of the replica.
    :param nginx: run nginx in front of the API processes.
    :param api: how many API processes (gunicorn masters) to run.
    :param port: nginx's port, or without nginx the first API process's; None chooses one.
    :param background: the application of a Celery worker and a beat; without it there are none.
    :param workers: gunicorn workers of an API process.
    :param durable: False turns fsync off, for databases that may be lost.
    :param database: the database that the API processes use; created by ``start``.
    :param postgres_settings: settings of PostgreSQL that differ from the project's postgresql.conf.
    :param pgbouncer_settings: the same for pgbouncer.ini.
    :param nginx_rate: how fast one IP address may send requests on average.
    :param application: what gunicorn serves.
    :param ready_path: the path that returns 200 when the application is ready.
    """

    def __init__(
        self,
        directory: Path,
        *,
        replica: bool = True,
        pgbouncer: bool = True,
        nginx: bool = False,
        api: int = 0,
        port: int | None = None,
        background: str = "",
        workers: int = 2,
        durable: bool = True,
        database: str = "campshub",
        postgres_settings: Mapping[str, str] | None = None,
        pgbouncer_settings: Mapping[str, str] | None = None,
        nginx_rate: str = "100r/s",
        application: str = "wsgi:app",
        ready_path: str = "/ready/",
    ) -> None:
        self.workspace = workspace.make(directory)
        self.database = database
        settings = {**({} if durable else NOT_DURABLE), **(postgres_settings or {})}
        self.primary = Primary(self.workspace, "primary", settings)
        self.replica = Replica(self.workspace, self.primary, settings) if replica else None
        self.cache = Redis(self.workspace, "cache")
        self.broker = Redis(self.workspace, "broker")
        servers = [server for server in (self.primary, self.replica) if pgbouncer and server is not None]
        self.pgbouncers = [PgBouncer(self.workspace, server, database, pgbouncer_settings or {}) for server in servers]
        served = {"workers": workers, "application": application, "ready_path": ready_path}
        self.apis = [self._api(number, port=None if nginx else port, **served) for number in range(1, api + 1)]
        self.background: list[Celery] = [
            kind(self.workspace, name, settings=self.environment, application=background)
            for kind, name in ((Worker, "worker"), (Beat, "beat"))
            if background
        ]
        self.nginx = Nginx(self.workspace, self.apis, port=port, rate=nginx_rate) if nginx else None

    def _api(self, number: int, *, port: int | None, **served: Any) -> Api:
        first = port if number == 1 else None
        return Api(self.workspace, f"api-{number}", port=first, settings=self.environment, **served)

    @property
    def directory(self) -> Path:
        """Return the stack's folder."""
        return self.workspace.directory

    @property
    def parts(self) -> list[Part]:
        """Return all parts, in the order in which they start."""
        replica = [self.replica] if self.replica else []
        nginx = [self.nginx] if self.nginx else []
        data = [self.primary, *replica, self.cache, self.broker, *self.pgbouncers]
        return [*data, *self.apis, *nginx, *self.background]

    def start(self) -> None:
        """Start what does not run yet, and wait until all of it is ready.

        :raises StackError: a part is missing or does not become ready.
        """
        self.start_data()
        self.start_api()
        self.start_background()

    def start_data(self) -> bool:
        """Start all but the API and nginx, and return whether the database is new."""
        with self.workspace.lock("start"):
            for part in self.parts:
                part.require()
            self.primary.start()
            is_new = databases.create(self.primary, self.database)
            if self.replica:
                self.replica.start()
                self._catch_up()
            for part in (self.cache, self.broker, *self.pgbouncers):
                part.start()
        return is_new

    def start_api(self) -> None:
        """Start the API processes, and nginx in front of them."""
        with self.workspace.lock("start"):
            begun = [(api, api.begin()) for api in self.apis]  # all at once: each takes its time to import
            for api, pid in begun:
                if pid:
                    api.wait_until_ready(pid)
            if self.nginx:
                self.nginx.start()

    def start_background(self) -> None:
        """Start the worker and the beat, last and without waiting: no first response needs them."""
        with self.workspace.lock("start"):
            for one in self.background:
                one.begin()

    def stop(self) -> None:
        """Stop all parts, the last one first, whichever command started them."""
        with self.workspace.lock("start"):
            for one in self.background:
                one.request_stop()
            if self.nginx:
                self.nginx.stop()
            for api in self.apis:
                api.request_stop()  # all at once: gunicorn lets requests finish
            for part in reversed(self.parts):
                part.stop()

    def restart(self, name: str) -> None:
        """Start one part again, stopping it first when it runs."""
        with self.workspace.lock("start"):
            self.part(name).stop()
            self.part(name).start()

    def kill(self, name: str) -> None:
        """Kill one part at once, as a crash would; ``start`` or ``restart`` starts it again."""
        self.part(name).kill()

    def part(self, name: str) -> Part:
        """Return a part by name: primary, replica, redis-cache, redis-broker, pgbouncer-primary, api-1, nginx, ...

        :raises StackError: the stack has no such part.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise StackError(f"no part {name}; there are {', '.join(part.name for part in self.parts)}")

    def create_database(self, name: str, template: str | None = None) -> bool:
        """Create a database with its roles and extensions, here and on the replica, and return whether it is new.

        :param template: another database to copy; its connections are ended.
        """
        is_new = databases.create(self.primary, name, template)
        self._catch_up()
        return is_new

    def drop_database(self, name: str) -> None:
        """Drop a database after ending its connections."""
        databases.drop(self.primary, name)

    def pause_replay(self) -> None:
        """Let the replica fall behind: it receives WAL, but does not apply it."""
        self._need_replica().pause()

    def resume_replay(self) -> None:
        """Let the replica apply WAL again; ``catch_up`` waits until it has."""
        self._need_replica().resume()

    def catch_up(self, patience_s: float = CATCH_UP_S) -> None:
        """Wait until the replica has applied what the primary has written by now."""
        self._need_replica().catch_up(patience_s)

    def environment(self, database: str | None = None) -> dict[str, str]:
        """Return every setting that the application needs to use this stack."""
        secrets = keys.load(self.workspace)
        passwords = {
            f"POSTGRES_{role.upper()}_{what}": value
            for role in ("migrator", "system", "maintenance")
            for what, value in (("USER", keys.role(role)), ("PASSWORD", secrets[role]))
        }
        return {
            "POSTGRES_DB": database or self.database,
            "POSTGRES_HOST": LOOPBACK,
            "POSTGRES_PORT": str(self.pgbouncers[0].port if self.pgbouncers else self.primary.port),
            "POSTGRES_USER": keys.role("app"),
            "POSTGRES_PASSWORD": secrets["app"],
            **passwords,
            "POSTGRES_DIRECT_HOST": LOOPBACK,
            "POSTGRES_DIRECT_PORT": str(self.primary.port),
            "POSTGRES_SSLMODE": "disable",
            **self._replica_settings(),
            "DB_PREPARE_THRESHOLD": "",  # off: PgBouncer may be older than 1.22
            "REDIS_URL": self.cache.url,
            "CELERY_BROKER_URL": self.broker.application_url,
            **{name: secrets[name] for name in ("SECRET_KEY", "JWT_PRIVATE_KEYS", "FIELD_ENCRYPTION_KEYS")},
            "MAIL_FOLDER": str(self.directory / "mail"),
            # Files without a report in the database are deleted, so that no two databases may share a storage location.
            "STORAGE_URL": str(self.directory / "storage" / (database or self.database)),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "SECURE_SSL_REDIRECT": "false",
            "TRUSTED_PROXIES": "1" if self.nginx else "0",
        }

    def write_state(self, *, ready: bool, demo: Mapping[str, object] | None = None) -> None:
        """Write ``state.json``, with which scripts and checks find the stack."""
        self.workspace.write_json(STATE_FILE, _state(self, ready=ready, demo=demo))

    def _replica_settings(self) -> dict[str, str]:
        if self.replica is None:
            return {"POSTGRES_REPLICA_HOST": "", "POSTGRES_REPLICA_PORT": ""}
        port = self.pgbouncers[1].port if self.pgbouncers else self.replica.port
        return {"POSTGRES_REPLICA_HOST": LOOPBACK, "POSTGRES_REPLICA_PORT": str(port)}

    def _need_replica(self) -> Replica:
        if self.replica is None:
            raise StackError("this stack has no replica")
        return self.replica

    def _catch_up(self) -> None:
        if self.replica and self.replica.is_running() and not self.replica.is_paused():
            self.replica.catch_up(CATCH_UP_S)


def _state(stack: Stack, *, ready: bool, demo: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the file's content.

    The URLs of the primary and the replica are the superuser's (checks bypass policies and pause the replica);
    PgBouncer's is the application's.
    """
    urls = [api.url for api in stack.apis]
    base_url = stack.nginx.url if stack.nginx else next(iter(urls), None)
    return {
        "ready": ready,
        "base_url": base_url,
        "docs_url": f"{base_url}/docs/" if base_url else None,
        "nginx_url": stack.nginx.url if stack.nginx else None,
        "api_urls": urls,
        "postgres": {
            "primary_dsn": stack.primary.dsn(stack.database),
            "replica_dsn": stack.replica.dsn(stack.database) if stack.replica else None,
            "pgbouncer_dsn": stack.pgbouncers[0].dsn(stack.database) if stack.pgbouncers else None,
        },
        "redis": {"cache_url": stack.cache.url, "broker_url": stack.broker.url},
        "demo": demo,
    }
