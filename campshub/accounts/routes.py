"""The accounts' addresses."""

from collections.abc import Mapping
from typing import Any

from campshub.accounts import queries, schemas, service
from campshub.core.http.marks import as_system, cached, limited, needs, public, secret
from campshub.core.http.problems import NotFound, PreconditionFailed
from campshub.core.http.resource import Blueprint, Resource
from campshub.core.security.permissions import Permission

auth = Blueprint("auth", __name__, url_prefix="/api/auth", description="Signing in.")
me = Blueprint("me", __name__, url_prefix="/api/me", description="The signed-in user.")
organizations = Blueprint("organizations", __name__, url_prefix="/api", description="Organizations.")
users = Blueprint("users", __name__, url_prefix="/api/users", description="Who belongs to the organization.")

blueprints = (auth, me, organizations, users)


def _account(given: Mapping[str, Any]) -> str:
    """Return the account that a sign-in names, however it is written."""
    return queries.email_key(given["email"])


@auth.route("/token/")
class Token(Resource):
    """Signing in with a password."""

    @public
    @limited("login_address")
    @limited("login", by=_account)
    @secret
    @auth.body(schemas.TokenIn)
    @auth.answers(schemas.TokenOut, raises=(service.BadCredentials, service.NoMembership))
    def post(self, **given: Any) -> dict[str, Any]:
        """Sign in with e-mail address and password."""
        return service.sign_in(self.session, self.platform, **given, now=self.now)


@me.route("/")
class Me(Resource):
    """The signed-in user."""

    @needs(Permission.ME_READ)
    @me.answers(schemas.MeOut)
    def get(self) -> dict[str, Any]:
        """Show who is signed in, and what they may do."""
        return queries.me(self.session, self.principal)

    @needs(Permission.ME_WRITE)
    @me.body(schemas.MePatch)
    @me.answers(schemas.MeOut, raises=(PreconditionFailed,))
    def patch(self, *, name: str) -> dict[str, Any]:
        """Change one's own name."""
        service.change_me(self.session, self.principal, expected=self.if_match, name=name)
        return queries.me(self.session, self.principal)


@organizations.route("/organization/")
class MyOrganization(Resource):
    """The organization that one is signed in to."""

    @needs(Permission.ORGANIZATION_READ)
    @cached(tags=("access",), same_for_role=True)
    @organizations.answers(schemas.OrganizationOut)
    def get(self) -> Any:
        """Show the organization that one is signed in to."""
        return queries.my_organization(self.session, self.principal)

    @needs(Permission.ORGANIZATION_WRITE)
    @organizations.body(schemas.OrganizationPatch)
    @organizations.answers(schemas.OrganizationOut, raises=(PreconditionFailed,))
    def patch(self, **changes: Any) -> Any:
        """Change the organization."""
        return service.change_organization(self.session, self.principal, expected=self.if_match, **changes)


@organizations.route("/organizations/")
class Organizations(Resource):
    """All organizations, for the platform's own people."""

    @needs(Permission.ORGANIZATIONS_WRITE)
    @as_system
    @secret
    @organizations.body(schemas.OrganizationIn)
    @organizations.answers(schemas.OrganizationOut, status=201, raises=(service.EmailTaken,))
    def post(self, **given: Any) -> Any:
        """Create an organization with its first admin."""
        return service.found_organization(self.session, self.platform, **given, now=self.now)


@users.route("/")
class Users(Resource):
    """The users of the organization."""

    @needs(Permission.USERS_READ)
    @cached(tags=("access",), same_for_role=True)
    @users.query(schemas.UserFilter)
    @users.answers_page(schemas.UserOut, sorts=("name", "created"))
    def get(self, *, role: str | None, page: Any) -> Any:
        """List the users who belong to the organization."""
        return queries.list_users(self.session, self.principal, role=role, page=page)


@users.route("/<uuid:user_id>/")
class OneUser(Resource):
    """One user of the organization."""

    @needs(Permission.USERS_READ)
    @cached(tags=("access",), same_for_role=True)
    @users.answers(schemas.UserOut, raises=(NotFound,))
    def get(self, user_id: Any) -> Any:
        """Show one user."""
        return queries.get_user(self.session, self.principal, user_id)
