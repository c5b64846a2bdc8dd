"""Each error has its own text as an attribute, so neither a reworded docstring nor ``python -OO`` changes the API."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from apispec import APISpec

import campshub
from campshub.core.errors import NotFound, Problem
from campshub.core.http.decorators import EndpointOptions
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.openapi import document, responses

ROOT = Path(__file__).parents[2]


def error_texts():
    """Return for each class of errors the text that it sets itself, and the one that a client receives."""
    for module in walk_packages(campshub.__path__, "campshub."):
        import_module(module.name)
    return {f"{kind.__module__}.{kind.__name__}": [vars(kind).get("default_detail"), kind().detail] for kind in kinds()}


def kinds():
    """Return all classes of errors of the application."""
    found = [Problem]
    for kind in found:
        found += [inner for inner in kind.__subclasses__() if inner not in found]
    return [kind for kind in found if kind.__module__.startswith("campshub.")]


def test_each_error_has_its_own_text():
    texts = error_texts()

    assert len(texts) > 100
    assert [name for name, (own, _) in texts.items() if not own] == []
    assert [name for name, (own, detail) in texts.items() if detail != own] == []


def test_texts_are_the_same_without_docstrings():
    command = [sys.executable, "-OO", "-m", "tests.core.test_error_texts"]
    ran = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=True, timeout=120)

    assert json.loads(ran.stdout) == error_texts()


def test_openapi_document_shows_the_texts():
    def get(_resource):
        """Return something."""

    spec = APISpec("CampsHub", "1", "3.1.0", plugins=[document.plugin()])
    responses.register(spec)
    endpoint = Endpoint("Things", "GET", get, EndpointOptions(is_public=True))
    reference = responses.responses(endpoint, "getThings", spec)["404"]["$ref"].rpartition("/")[2]

    assert spec.components.responses[reference]["description"] == f"- `not_found`: {NotFound.default_detail}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(error_texts()))
