"""The modules, lowest first: what each one adds is found by the names of its files."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from flask import Flask

from campshub.core.http.openapi import Api

MODULES = ("accounts", "students", "attendance", "workouts", "reports", "demo")
_OPS = ("alerts", "cli", "cache", "jobs", "keys", "optimize", "partitions", "passwords", "permissions", "rollups")
CORE_COMMANDS = tuple(f"campshub.core.ops.{name}" for name in _OPS)


def load_models() -> None:
    """Import every table, so that the metadata is whole."""
    for name in (
        "core.db.epoch",
        "core.http.idempotency",
        "core.jobs.models",
        "core.ops.alerts",
        "core.security.audit",
        "core.security.events",
    ):
        import_module(f"campshub.{name}")
    for module in MODULES:
        _part(module, "models")


def load(app: Flask, api: Api) -> None:
    """Register each module's addresses and commands."""
    load_models()
    for name in ("figures", "tasks"):
        import_module(f"campshub.core.ops.{name}")
    for blueprint in import_module("campshub.core.jobs.routes").blueprints:
        api.register_blueprint(blueprint)
    for module in MODULES:
        _part(module, "tasks")
        routes = _part(module, "routes")
        for blueprint in getattr(routes, "blueprints", ()):
            api.register_blueprint(blueprint)
    for commands in (*(_part(module, "cli") for module in MODULES), *map(import_module, CORE_COMMANDS)):
        for group in getattr(commands, "commands", ()):
            app.cli.add_command(group)


def _part(module: str, part: str) -> Any:
    name = f"campshub.{module}.{part}"
    return import_module(name) if find_spec(name) else None
