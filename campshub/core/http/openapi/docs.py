"""The OpenAPI document at ``/api/openapi.json`` and its interactive page at ``/docs/``, from packaged files only.

They are the same for every client and change only with a release. Each has an ETag, and is compressed for clients that
accept gzip.
"""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, request

from campshub.core.errors import NotFound
from campshub.core.http.openapi.document import Api
from campshub.core.http.responses import matches
from campshub.core.json import write

_LIBRARY = Path(flask_swagger_ui.__file__).parent / "dist"
_OWN_FILES = Path(__file__).with_name("page")
_CSS, _SCRIPT = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_FILES = {
    "swagger-ui.css": (_LIBRARY, _CSS),
    "swagger-ui-bundle.js": (_LIBRARY, _SCRIPT),
    "favicon-32x32.png": (_LIBRARY, "image/png"),
    "page.css": (_OWN_FILES, _CSS),
    "start.js": (_OWN_FILES, _SCRIPT),
}
_COMPRESSED_ALREADY = frozenset({"image/png"})
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
# The page loads nothing from other origins; its library adds inline styles.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A browser may store them, but must revalidate them each time.
_CACHE_CONTROL = "no-cache"


@dataclass(frozen=True)
class _Static:
    """One static resource: its plain and its compressed bytes, each with an ETag."""

    media_type: str
    plain: bytes
    gzipped: bytes | None
    digest: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "_Static":
        """Create a resource, and compress its content once."""
        compressed = None if media_type in _COMPRESSED_ALREADY else gzip.compress(content, mtime=0)
        return cls(media_type, content, compressed, hashlib.sha256(content).hexdigest()[:18])

    def response(self, headers: dict[str, str]) -> Response:
        """Return the response to the current request; 304 if the client has these bytes already."""
        is_gzipped = self.gzipped is not None and request.accept_encodings["gzip"] > 0
        body = self.gzipped if is_gzipped and self.gzipped is not None else self.plain
        tag = f'"{self.digest}{"-gzip" if is_gzipped else ""}"'
        headers = {**headers, "ETag": tag, "Cache-Control": _CACHE_CONTROL, "Vary": "Accept-Encoding, Origin"}
        if matches(request.headers.get("If-None-Match"), tag):
            return Response(status=304, headers=headers)
        if is_gzipped:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, content_type=self.media_type)


def docs_blueprint(api: Api) -> Blueprint:
    """Return the blueprint that serves the OpenAPI document of an API."""
    blueprint = Blueprint("docs", __name__)

    @cache
    def document() -> _Static:
        return _Static.of(write(api.sorted_document()), "application/json")

    @cache
    def page() -> _Static:
        return _Static.of(_PAGE.encode(), "text/html; charset=utf-8")

    @cache
    def asset(name: str) -> _Static:
        folder, media_type = _FILES[name]
        return _Static.of((folder / name).read_bytes(), media_type)

    def serve(path: str, resource: Callable[[], _Static], **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        blueprint.add_url_rule(path, resource.__name__, lambda: resource().response(named), methods=["GET"])

    serve("/api/openapi.json", document)
    serve("/docs/", page, Content_Security_Policy=_POLICY)

    @blueprint.get("/docs/<name>")
    def file(name: str) -> Response:
        if name not in _FILES:
            raise NotFound
        return asset(name).response({})

    return blueprint
