"""The endpoints of users, and of the signed-in user."""

from typing import Any

from campshub.accounts.queries import users as queries
from campshub.accounts.schemas import users as schemas
from campshub.accounts.service import members
from campshub.accounts.service import users as service
from campshub.accounts.service.organizations import EmailTaken
from campshub.accounts.service.role_grants import RoleNotYours
from campshub.core.errors import NotFound, PreconditionFailed
from campshub.core.http.decorators import cached, needs, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.passwords import PasswordsBusy
from campshub.core.security.permissions import Permission

me = Blueprint("me", __name__, url_prefix="/api/me", description="The signed-in user.")
users = Blueprint("users", __name__, url_prefix="/api/users", description="The members of the organization.")


@me.route("/")
class Me(Resource):
    """The signed-in user."""

    @needs(Permission.ME_READ)
    @me.answers(schemas.MeOut)
    def get(self) -> dict[str, Any]:
        """Show the signed-in user and their permissions."""
        return queries.me(self.session, self.principal)

    @needs(Permission.ME_WRITE)
    @me.body(schemas.MePatch)
    @me.answers(schemas.MeOut, raises=(PreconditionFailed,))
    def patch(self, **changes: Any) -> dict[str, Any]:
        """Change your name."""
        service.change_me(self.session, self.principal, expected=self.if_match, **changes)
        return queries.me(self.session, self.principal)


@users.route("/")
class Users(Resource):
    """The users of the organization."""

    @needs(Permission.USERS_READ)
    @cached(tags=("access",), same_for_role=True)
    @users.query(schemas.UserFilter)
    @users.answers_page(schemas.UserOut, sorts=("name", "created"))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List the members of the organization."""
        return queries.list_users(self.session, self.principal, page=page, **filters)

    @needs(Permission.USERS_WRITE)
    @secret
    @users.body(schemas.UserIn)
    @users.answers(
        schemas.UserOut, status=201, raises=(EmailTaken, members.UserExternalIdTaken, RoleNotYours, PasswordsBusy)
    )
    def post(self, **given: Any) -> Any:
        """Create a user with a password; a person with an account must be invited instead."""
        return members.create(self.session, self.principal, self.services, **given)


@users.route("/<uuid:user_id>/")
class OneUser(Resource):
    """One user of the organization."""

    @needs(Permission.USERS_READ)
    @cached(tags=("access",), same_for_role=True)
    @users.answers(schemas.UserOut, raises=(NotFound,))
    def get(self, user_id: Any) -> Any:
        """Show one user."""
        return queries.get_user(self.session, self.principal, user_id)

    @needs(Permission.USERS_WRITE)
    @users.body(schemas.UserPatch)
    @users.answers(
        schemas.UserOut,
        raises=(NotFound, PreconditionFailed, members.LastAdmin, members.UserExternalIdTaken, RoleNotYours),
    )
    def patch(self, user_id: Any, **changes: Any) -> Any:
        """Change a user's role, disable or enable them; it takes effect at their next request."""
        return members.change(
            self.session, self.principal, user_id=user_id, expected=self.if_match, now=self.now, **changes
        )
