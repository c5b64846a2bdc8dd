"""Resource and Blueprint, with which modules define their routes.

``Resource.dispatch_request`` passes the request with the endpoint of its method to the dispatcher. The decorators only
set options (``decorators``); ``Blueprint.route`` compiles them.
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
    """The resource at one URL; an endpoint is a method that is named after its HTTP method."""

    endpoints: ClassVar[dict[str, Endpoint]] = {}

    @property
    def today(self) -> date:
        """The date at the time of the request, in the organization's time zone."""
        return self.principal.today(self.now)

    def dispatch_request(self, **path_parameters: Any) -> Response:
        """Handle one request."""
        endpoint = self.endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise MethodNotAllowed
        return dispatch.handle_request(self, endpoint, path_parameters)

    def require(self, permission: Permission, *, only_if: bool) -> None:
        """Require a permission that only some requests to this endpoint need.

        :raises Forbidden: ``only_if`` is true, and the caller does not have the permission.
        """
        if only_if and not self.principal.may(permission):
            raise Forbidden


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # the library ships no types
    """The routes of a module."""

    query = staticmethod(decorators.query)
    body = staticmethod(decorators.body)
    answers = staticmethod(decorators.answers)
    answers_page = staticmethod(decorators.answers_page)
    answers_file = staticmethod(decorators.answers_file)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks = [document.document]

    def route(self, rule: str, **options: Any) -> Callable[[R], R]:
        """Register a resource and compile its endpoints.

        :raises MissingPermission: an endpoint has neither ``needs`` nor ``public``.
        """

        def register(resource: R) -> R:
            resource.endpoints = {}
            for method in METHODS:
                function = resource.__dict__.get(method.lower())
                if function is None:
                    continue
                endpoint = Endpoint(resource.__name__, method, function, decorators.options_of(function))
                resource.endpoints[method] = endpoint
                function._apidoc = {"handler": endpoint}  # noqa: SLF001 - where flask-smorest looks for it
            self.add_url_rule(rule, None, resource, **options)
            return resource

        return register
