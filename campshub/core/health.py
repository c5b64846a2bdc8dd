"""Health endpoints: liveness, readiness, the state of each dependency, and the metrics."""

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

# 0 if all received WAL is replayed: otherwise the lag would seem to grow while nothing is written.
_LAG = text(
    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE 1000 * extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8"
)


# Prometheus and most load balancers request these without the slash; a redirect would count as a failure.
_probe = partial(blueprint.get, strict_slashes=False)


@_probe("/live/")
def live() -> Response:
    """Report that the process runs."""
    time.sleep(0)  # yield: this function never waits, so one keep-alive connection could block all other requests
    return _json({"status": "live"})


@_probe("/ready/")
def ready() -> Response:
    """Report whether reads are possible: the primary or a replica is reachable."""
    reachable = any(_check_database(engine)["healthy"] for engine in _read_engines())
    return _json({"status": "ready" if reachable else "not ready"}, 200 if reachable else 503)


@_probe("/health/")
def health() -> Response:
    """Report the state of each dependency."""
    services: ServiceContainer = current_app.extensions["campshub"]
    parts = {"database": _check_database(db.engines[None])}
    for name, engine in db.engines.items():
        if name and name.startswith("replica"):
            parts[name if name != "replica0" else "replica"] = _check_database(engine, replica=True)
    for number, url in enumerate(services.settings.redis_urls):
        parts[f"cache{number}" if number else "cache"] = _check_redis(url)
    parts["broker"] = _check_redis(services.settings.celery_broker_url)
    parts["worker"] = _check_worker(services.settings)
    healthy = all(service["healthy"] for service in parts.values())
    status = "healthy" if healthy else "degraded" if parts["database"]["healthy"] else "unhealthy"
    document: dict[str, Any] = {"status": status, "version": campshub.__version__}
    if _may_see_details(services):
        document |= {"services": parts, "metrics": _machine()}
    return _json(document, 503 if status == "unhealthy" else 200)


@_probe("/metrics/")
def prometheus() -> Response:
    """Return the metrics for Prometheus to clients that may see details."""
    if not _may_see_details(current_app.extensions["campshub"]):
        return _json({"status": "hidden"}, 404)
    return Response(metrics.render(), mimetype="text/plain; version=0.0.4; charset=utf-8")


def _read_engines() -> list[Engine]:
    return [engine for name, engine in db.engines.items() if name is None or name.startswith("replica")]


def _check_database(engine: Engine, *, replica: bool = False) -> dict[str, Any]:
    def check() -> dict[str, Any]:
        with engine.connect() as connection:
            result = connection.execute(_LAG if replica else text("SELECT 1")).scalar()
        return {"lag_ms": round(result or 0.0, 1)} if replica else {}

    return _timed(check)


def _check_redis(url: str) -> dict[str, Any]:
    def check() -> dict[str, Any]:
        client: Any = redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        try:
            client.ping()
        finally:
            client.close()
        return {}

    return _timed(check)


def _check_worker(settings: Settings) -> dict[str, Any]:
    """Check that a worker has recorded a heartbeat recently; its age is in seconds, or None after a day."""
    try:
        age_s = heartbeat.ages(settings, time.time())[Queue.CRITICAL]
    except redis.RedisError:
        return {"healthy": False}
    return {"healthy": age_s is not None and age_s < heartbeat.LATE_AFTER_S, "last_heartbeat_s": age_s}


def _timed(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        result = {"healthy": True, **check()}
    except (SQLAlchemyError, redis.RedisError):
        result = {"healthy": False}
    return {**result, "response_time_ms": round((time.perf_counter() - started) * 1000, 2)}


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
