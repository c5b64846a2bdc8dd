"""Health: may this process be sent requests, and what of the parts that it stands on is away."""

import ipaddress
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis
from flask import Blueprint, Response, current_app, request
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

import campshub
from campshub.config import Settings
from campshub.core.db.session import db
from campshub.core.jobs import heartbeat
from campshub.core.jobs.registry import Queue
from campshub.core.json import write
from campshub.core.observe import metrics
from campshub.core.redis.connection import ANSWER_WITHIN_S
from campshub.core.services import ServiceContainer

blueprint = Blueprint("health", __name__)

_LAG = text(
    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE 1000 * extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8"
)


# Prometheus and most load balancers request these without the slash; a redirect would count as a failure.
_probe = partial(blueprint.get, strict_slashes=False)


@_probe("/live/")
def live() -> Response:
    """Say that the process runs."""
    time.sleep(0)  # nothing else here lets others have their turn, and one kept connection could take all of them
    return _json({"status": "live"})


@_probe("/ready/")
def ready() -> Response:
    """Say whether reads can be answered: the primary, or a replica, is there."""
    reachable = any(_ask_database(engine)["healthy"] for engine in _read_engines())
    return _json({"status": "ready" if reachable else "not ready"}, 200 if reachable else 503)


@_probe("/health/")
def health() -> Response:
    """Say how each part does."""
    services: ServiceContainer = current_app.extensions["campshub"]
    parts = {"database": _ask_database(db.engines[None])}
    for name, engine in db.engines.items():
        if name and name.startswith("replica"):
            parts[name if name != "replica0" else "replica"] = _ask_database(engine, replica=True)
    for number, url in enumerate(services.settings.redis_urls):
        parts[f"cache{number}" if number else "cache"] = _ask_redis(url)
    parts["broker"] = _ask_redis(services.settings.celery_broker_url)
    parts["worker"] = _ask_worker(services.settings)
    healthy = all(service["healthy"] for service in parts.values())
    status = "healthy" if healthy else "degraded" if parts["database"]["healthy"] else "unhealthy"
    answer: dict[str, Any] = {"status": status, "version": campshub.__version__}
    if _may_see_details(services):
        answer |= {"services": parts, "metrics": _machine()}
    return _json(answer, 503 if status == "unhealthy" else 200)


@_probe("/metrics/")
def figures() -> Response:
    """Give the figures to Prometheus, where details may be seen."""
    if not _may_see_details(current_app.extensions["campshub"]):
        return _json({"status": "hidden"}, 404)
    return Response(metrics.page(), mimetype="text/plain; version=0.0.4; charset=utf-8")


def _read_engines() -> list[Engine]:
    return [engine for name, engine in db.engines.items() if name is None or name.startswith("replica")]


def _ask_database(engine: Engine, *, replica: bool = False) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with engine.connect() as connection:
            found = connection.execute(_LAG if replica else text("SELECT 1")).scalar()
        return {"lag_ms": round(found or 0.0, 1)} if replica else {}

    return _timed(ask)


def _ask_redis(url: str) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        client: Any = redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        try:
            client.ping()
        finally:
            client.close()
        return {}

    return _timed(ask)


def _ask_worker(settings: Settings) -> dict[str, Any]:
    """Tell how long ago a worker has answered what a beat had sent; None: not within a day."""
    try:
        age_s = heartbeat.ages(settings, time.time())[Queue.CRITICAL]
    except redis.RedisError:
        return {"healthy": False}
    return {"healthy": age_s is not None and age_s < heartbeat.LATE_AFTER_S, "last_heartbeat_s": age_s}


def _timed(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        found = {"healthy": True, **ask()}
    except (SQLAlchemyError, redis.RedisError):
        found = {"healthy": False}
    return {**found, "response_time_ms": round((time.perf_counter() - started) * 1000, 2)}


def _machine() -> dict[str, float]:
    return {
        "cpu_usage_percent": psutil.cpu_percent(interval=None),
        "memory_usage_percent": psutil.virtual_memory().percent,
        "disk_usage_percent": psutil.disk_usage(str(Path.cwd())).percent,
    }


def _may_see_details(services: ServiceContainer) -> bool:
    if services.settings.health_details == "public":
        return True
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(write(value), status=status, mimetype="application/json")
