"""The Flask application without what an API has no use for.

Sessions in cookies, and views that might be coroutines, are looked for in every request.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin

from campshub.core.http.fast_path import Environ, Front

_NO_SESSION = NullSession()


class NoSessions(SessionInterface):
    """No sessions: who asks is told by a token in each request."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - Flask's own form
        """Return the session that holds nothing, and refuses to."""
        return _NO_SESSION

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep nothing."""


class Application(Flask):
    """A Flask application whose views are plain functions."""

    session_interface = NoSessions()
    front: Front | None = None

    def wsgi_app(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer with what the front has, else as Flask does."""
        answered = self.front.answer(environ, start_response) if self.front else None
        if answered is not None:
            return answered
        whole: Iterable[bytes] = super().wsgi_app(environ, start_response)
        return whole

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: none of them is a coroutine."""
        return func
