"""The document at ``/api/openapi.json`` and its interactive page at ``/docs/``, from packaged files alone."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, send_from_directory

from campshub.core.http.openapi import Api
from campshub.core.http.serialise import write

_ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"
_SHOWN = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_WRITTEN = frozenset({"page.css", "start.js"})
_OURS = Path(__file__).with_name("page")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CampsHub API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/page.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the document at /api/openapi.json does not.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# The page loads nothing from elsewhere; its library writes styles of its own.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def blueprint(api: Api) -> Blueprint:
    """Return the blueprint that serves an API's document."""
    serving = Blueprint("docs", __name__)
    written: list[bytes] = []

    @serving.get("/api/openapi.json")
    def openapi_json() -> Response:
        if not written:
            written.append(write(api.finished()))
        return Response(written[0], mimetype="application/json")

    @serving.get("/docs/")
    def page() -> Response:
        return Response(_PAGE, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})

    @serving.get("/docs/<name>")
    def asset(name: str) -> Response:
        if name in _WRITTEN:
            return send_from_directory(_OURS, name, max_age=3600)
        return send_from_directory(_ASSETS, name if name in _SHOWN else "none", max_age=3600)

    return serving
