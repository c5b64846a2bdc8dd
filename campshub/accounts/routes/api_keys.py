"""The endpoints of API keys for programs and kiosks."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import api_keys as queries
from campshub.accounts.schemas import api_keys as schemas
from campshub.accounts.service import api_keys as service
from campshub.accounts.service.mfa import StepUpRequired
from campshub.core.errors import NotFound
from campshub.core.http.decorators import needs, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

api_keys = Blueprint(
    "api_keys",
    __name__,
    url_prefix="/api/api-keys",
    description="Keys with which programs and kiosks call the API, as `Authorization: Bearer chk_...`.",
)


@api_keys.route("/")
class ApiKeys(Resource):
    """The organization's keys."""

    @needs(Permission.KEYS_READ)
    @api_keys.answers_page(schemas.ApiKeyOut, sorts=("created",))
    def get(self, *, page: Any) -> Any:
        """List the organization's keys, including expired and revoked ones."""
        return queries.list_keys(self.session, self.principal, page=page)

    @needs(Permission.KEYS_WRITE)
    @secret
    @api_keys.body(schemas.ApiKeyIn)
    @api_keys.answers(schemas.NewApiKeyOut, status=201, raises=(StepUpRequired, service.KeyNotYours))
    def post(self, **given: Any) -> dict[str, Any]:
        """Create a key; only this response contains its secret."""
        return service.create(self.session, self.principal, self.services, **given, now=self.now)


@api_keys.route("/<uuid:api_key_id>/")
class OneApiKey(Resource):
    """One key."""

    @needs(Permission.KEYS_READ)
    @api_keys.answers(schemas.ApiKeyOut, raises=(NotFound,))
    def get(self, api_key_id: UUID) -> Any:
        """Show a key."""
        return queries.get_key(self.session, self.principal, api_key_id)

    @needs(Permission.KEYS_WRITE)
    @api_keys.answers(None, raises=(NotFound, StepUpRequired))
    def delete(self, api_key_id: UUID) -> None:
        """Revoke a key; it is refused from the next request on."""
        service.revoke(self.session, self.principal, self.services, api_key_id=api_key_id, now=self.now)
