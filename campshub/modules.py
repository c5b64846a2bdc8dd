"""The modules, in layers; the file names of a module say what it registers."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from flask import Flask

from campshub.core.http.openapi.document import Api

# The lowest first. A module imports only modules of lower layers; ``make lint`` checks it.
LAYERS = (
    ("operations",),
    ("jobs",),
    ("accounts",),
    ("students",),
    ("attendance", "workouts"),
    ("analytics", "changes", "check_ins", "leave", "timetables"),
    ("reports",),
    ("demo",),
)
MODULES = tuple(module for layer in LAYERS for module in layer)
CORE_MODELS = (
    "campshub.core.freshness.epoch",
    "campshub.core.http.idempotency",
    "campshub.core.jobs.models",
    "campshub.core.security.audit",
    "campshub.core.security.events",
)


def load_models() -> None:
    """Import all models, so that the metadata is complete."""
    for name in CORE_MODELS:
        import_module(name)
    for module in MODULES:
        _part(module, "models")


def load(app: Flask, api: Api) -> None:
    """Register the jobs, URLs and commands of each module."""
    load_models()
    for module in MODULES:
        _part(module, "tasks")
        for blueprint in getattr(_part(module, "routes"), "blueprints", ()):
            api.register_blueprint(blueprint)
        for group in getattr(_part(module, "cli"), "commands", ()):
            app.cli.add_command(group)


def _part(module: str, part: str) -> Any:
    name = f"campshub.{module}.{part}"
    return import_module(name) if find_spec(name) else None
