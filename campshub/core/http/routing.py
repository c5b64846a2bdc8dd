"""Resource and Blueprint: what a module's routes are written with.

``Resource.dispatch_request`` is the door: it hands the request to the edge together with the handler that the verb
names. The decorators only mark (``marks``); ``Blueprint.route`` compiles them.
"""

from collections.abc import Callable
from datetime import date
from typing import Any, ClassVar, TypeVar

import flask_smorest
from flask import Response, request
from flask.views import MethodView

from campshub.core.errors import Forbidden, MethodNotAllowed
from campshub.core.http import decorators, dispatch
from campshub.core.http.context import ResourceState
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.openapi import document
from campshub.core.security.permissions import Permission

R = TypeVar("R", bound="type[Resource]")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Resource(ResourceState, MethodView):
    """What stands at one address; a handler is a method named after its verb."""

    handlers: ClassVar[dict[str, Endpoint]] = {}

    @property
    def today(self) -> date:
        """The organization's own calendar date at the time of the request."""
        return self.principal.today(self.now)

    def dispatch_request(self, **path: Any) -> Response:
        """Answer one request."""
        handler = self.handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise MethodNotAllowed
        return dispatch.answer(self, handler, path)

    def require(self, permission: Permission, *, only_if: bool) -> None:
        """Refuse callers without a permission that some requests to this address need.

        :raises Forbidden: the request is one of them, and the caller does not have the permission.
        """
        if only_if and not self.principal.may(permission):
            raise Forbidden


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # the library ships no types
    """A module's addresses."""

    query = staticmethod(decorators.query)
    body = staticmethod(decorators.body)
    answers = staticmethod(decorators.answers)
    answers_page = staticmethod(decorators.answers_page)
    answers_file = staticmethod(decorators.answers_file)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks = [document.document]

    def route(self, rule: str, **options: Any) -> Callable[[R], R]:
        """Register a resource; compile its handlers.

        :raises Unmarked: a handler does not say who may call it.
        """

        def register(resource: R) -> R:
            resource.handlers = {}
            for method in METHODS:
                function = resource.__dict__.get(method.lower())
                if function is None:
                    continue
                handler = Endpoint(resource.__name__, method, function, decorators.options_of(function))
                resource.handlers[method] = handler
                function._apidoc = {"handler": handler}  # noqa: SLF001 - where flask-smorest looks for it
            self.add_url_rule(rule, None, resource, **options)
            return resource

        return register
