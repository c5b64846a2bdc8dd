"""The endpoints of the audit log and of security events."""

from typing import Any

from campshub.accounts.queries import audit as queries
from campshub.accounts.schemas import audit as schemas
from campshub.core.http.decorators import named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

audit = Blueprint("audit", __name__, url_prefix="/api/audit", description="Who changed what, before and after.")
security_events = Blueprint(
    "security_events", __name__, url_prefix="/api/security-events", description="Sign-ins, sessions and refusals."
)


@audit.route("/")
class Audit(Resource):
    """The audit log."""

    @needs(Permission.AUDIT_READ)
    @named("listAuditEntries")
    @audit.query(schemas.AuditFilter)
    @audit.answers_page(schemas.AuditEntryOut, sorts=("-date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List changes and recorded reads, with who made them; newest first."""
        ring = self.services.ring
        return queries.list_entries(self.session, self.principal, ring, now=self.now, page=page, **filters)


@security_events.route("/")
class SecurityEvents(Resource):
    """The security events."""

    @needs(Permission.AUDIT_READ)
    @security_events.query(schemas.SecurityEventFilter)
    @security_events.answers_page(schemas.SecurityEventOut, sorts=("-created",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List failed sign-ins, lockouts, reused tokens and changed permissions; newest first."""
        return queries.list_events(self.session, self.principal, page=page, **filters)
