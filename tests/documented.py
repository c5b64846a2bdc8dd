"""Compare each response that a test receives with the application's OpenAPI document."""

import re
from functools import lru_cache
from typing import Any

from werkzeug.exceptions import HTTPException

PROBLEM_JSON = "application/problem+json"


class Documented:
    """The document of one application."""

    def __init__(self, app: Any) -> None:
        self.document = app.extensions["flask-smorest"]["apis"][""]["ext_obj"].sorted_document()
        self._urls = app.url_map.bind("localhost")
        self._headers = frozenset(self.document["components"]["headers"])
        self.codes = lru_cache(maxsize=None)(self._codes)

    def missing(self, method: str, url: str, response: Any) -> str | None:
        """Return what the document lacks for a response; None if it is complete, or has no such operation."""
        found = self.operation(method, url)
        if found is None:
            return None
        name, operation = found
        status = str(response.status_code)
        if status not in operation["responses"]:
            return f"{name} returned {status}, which the document does not list"
        described = self.resolved(operation["responses"][status])
        undescribed = (self._headers & {key for key, _ in response.headers}) - described.get("headers", {}).keys()
        if undescribed:
            return f"{name} {status} had {', '.join(sorted(undescribed))}, which the document does not list"
        if response.mimetype != PROBLEM_JSON or method == "HEAD":
            return None
        code = response.get_json(force=True)["code"]
        if code in self.codes(name, status):
            return None
        return f"{name} returned {status} `{code}`: add its class to `raises` of the endpoint"

    def operation(self, method: str, url: str) -> tuple[str, dict[str, Any]] | None:
        """Return the name and description of the operation at a URL; None if there is none."""
        method = "GET" if method == "HEAD" else method
        try:
            rule, _ = self._urls.match(url.partition("?")[0], method, return_rule=True)
        except HTTPException:
            return None
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        described = self.document["paths"].get(path, {}).get(method.lower())
        return (f"{method} {path}", described) if described else None

    def _codes(self, name: str, status: str) -> frozenset[str]:
        method, _, path = name.partition(" ")
        described = self.resolved(self.document["paths"][path][method.lower()]["responses"][status])
        schema = self.resolved(described["content"][PROBLEM_JSON]["schema"])
        return frozenset(schema["allOf"][1]["properties"]["code"]["enum"])

    def resolved(self, described: dict[str, Any]) -> dict[str, Any]:
        """Return the target of a reference, or the description itself."""
        while "$ref" in described:
            target: Any = self.document
            for step in described["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            described = target
        return described


@lru_cache(maxsize=8)
def documented(app: Any) -> Documented:
    """Return the document of an application, built once."""
    return Documented(app)
