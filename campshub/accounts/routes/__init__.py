"""The endpoints of accounts."""

from campshub.accounts.routes import mfa, oidc, passwords, sessions
from campshub.accounts.routes.api_keys import api_keys
from campshub.accounts.routes.audit import audit, security_events
from campshub.accounts.routes.invitations import invitations
from campshub.accounts.routes.organizations import organizations
from campshub.accounts.routes.roles import roles
from campshub.accounts.routes.signing_in import auth
from campshub.accounts.routes.users import me, users

__all__ = ["blueprints", "mfa", "oidc", "passwords", "sessions"]

blueprints = (auth, me, organizations, users, invitations, roles, api_keys, audit, security_events)
