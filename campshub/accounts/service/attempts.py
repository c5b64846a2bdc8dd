"""Attempts to sign in: counted by account and by address in the database, and held up longer and longer.

An account that does not exist is counted like one that does, by a keyed hash of its e-mail address. Nobody is locked
out for good: a held account waits, at most for the longest delay, and a reset by e-mail ends the wait.
"""

from uuid import UUID

from sqlalchemy import text

from campshub.accounts.queries.signing_in import email_key
from campshub.core.addresses import customer
from campshub.core.db.base import PLATFORM_ID, AnyRow
from campshub.core.db.session import Session
from campshub.core.db.work import record_apart, unit_of_work
from campshub.core.jobs.outbox import enqueue
from campshub.core.observe import metrics
from campshub.core.platform import Platform
from campshub.core.security.events import Kind

_BEGIN = text(
    "SELECT * FROM begin_sign_in(:email_key, :account, :account_allowed, :place, :place_allowed, :first_s, :longest_s)"
)
_END = text("SELECT end_sign_in(:account, :place, :user_id, :upgraded)")
_FAILED = text("SELECT sign_in_failed(:user_id, :kind, :at, :address, :trace_id)")


def account_key(platform: Platform, email: str) -> bytes:
    """Return what stands for an account where attempts are counted."""
    return platform.tokens.opaque.keyed("account", email_key(email))


def begin(session: Session, platform: Platform, email: str) -> AnyRow:
    """Count an attempt, whatever becomes of it; return what is known of the account, and whether it is held.

    It is committed by itself, and the connection let go: what follows takes long, and may be rolled back.
    """
    settings = platform.settings
    session.let_go()
    with unit_of_work(like=session.unit) as apart:
        known: AnyRow = apart.execute(
            _BEGIN,
            {
                "email_key": email_key(email),
                "account": account_key(platform, email),
                "account_allowed": settings.lockout_account_after,
                "place": _place(session, platform),
                "place_allowed": settings.lockout_address_after,
                "first_s": settings.lockout_first_s,
                "longest_s": settings.lockout_longest_s,
            },
        ).one()
    return known


def succeeded(session: Session, platform: Platform, email: str, known: AnyRow, *, upgraded: str | None) -> None:
    """Take the count back; keep the hash that replaces an outdated one."""
    session.execute(
        _END,
        {
            "account": account_key(platform, email),
            "place": _place(session, platform),
            "user_id": known.user_id,
            "upgraded": upgraded,
        },
    )


def failed(session: Session, platform: Platform, email: str, known: AnyRow) -> None:
    """Record that an attempt failed; the owner is told when it is the one from which on the account is held.

    For an account that does not exist it takes the same steps.
    """
    is_first_lockout = not known.is_held and known.failures == platform.settings.lockout_account_after
    kind = Kind.SIGN_IN_LOCKED if is_first_lockout else Kind.SIGN_IN_FAILED
    note_failure(session, known.user_id, kind)
    if is_first_lockout:
        record_apart(session, lambda apart: owe(apart, platform, "accounts.tell_of_lockout", email))


def note_failure(session: Session, user_id: UUID | None, kind: Kind) -> None:
    """Record a refused sign-in in each organization of the user, else in the platform's; it outlives the refusal."""
    unit = session.unit
    metrics.security_events.labels(kind.value).inc()
    given = {"user_id": user_id, "kind": kind.value, "at": unit.now, "address": unit.address, "trace_id": unit.trace_id}

    def record(apart: Session) -> None:
        apart.execute(_FAILED, given)

    record_apart(session, record)


def owe(session: Session, platform: Platform, job: str, email: str) -> None:
    """Owe an e-mail to an address of which nobody knows yet whether it is a user's; it is kept sealed."""
    session.enter(PLATFORM_ID)
    enqueue(session, job, email=platform.ring.seal(email.encode(), context=job))


def _place(session: Session, platform: Platform) -> bytes:
    return platform.tokens.opaque.keyed("address", customer(session.unit.address))
