"""Attempts to sign in: counted by account and by address in the database, and held up longer and longer.

An attempt in flight takes one of the places that are left before its account or address is held; one for which there is
none waits a moment, and is then answered 429. So however many come at once, no more guesses are checked than may fail,
and a right password is not refused because others are being checked. An account that does not exist is counted like
one that does, by a keyed hash of its e-mail address. No account is locked for good: a held one waits, at most for the
longest delay, and a reset by e-mail ends the wait.
"""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import text

from campshub.core.db.models import PLATFORM_ID, AnyRow
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import in_separate_transaction, unit_of_work
from campshub.core.errors import RateLimited
from campshub.core.ip_addresses import customer
from campshub.core.jobs.store import enqueue
from campshub.core.normalization import email_key
from campshub.core.observe import metrics
from campshub.core.security.events import SecurityEventKind
from campshub.core.service_base import Services

# How long an attempt waits for a place, one pause after the other.
_PAUSES_S = (0.1, 0.2, 0.4)
_BEGIN = text("SELECT * FROM begin_sign_in(:email_key, :account, :account_allowed, :place, :place_allowed)")
_RELEASE = text("SELECT release_sign_in(:account, :place)")
_END = text("SELECT end_sign_in(:account, :place, :user_id, :upgraded)")
_FAIL = text(
    "SELECT fail_sign_in(:account, :account_allowed, :place, :place_allowed, :first_s, :longest_s) AS failures"
)
_FAILED = text("SELECT sign_in_failed(:user_id, :kind, :at, :address, :trace_id)")


class TooManyAtOnce(RateLimited):
    """Too many sign-ins to this account, or from this address, are in progress; try again in a moment."""

    code = "too_many_at_once"
    default_detail = "Too many sign-ins to this account, or from this address, are in progress; try again in a moment."

    def __post_init__(self) -> None:
        """Say when to come back."""
        super().__post_init__()
        self.headers.setdefault("Retry-After", "1")


class _Outcome(StrEnum):
    RELEASED = "released"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


@dataclass(eq=False)
class Attempt:
    """One attempt in flight, and what is known of its account; without another outcome it counts for nothing."""

    session: Session
    services: Services
    email: str
    known: AnyRow
    outcome: _Outcome = field(default=_Outcome.RELEASED, init=False)

    @property
    def is_held(self) -> bool:
        """Whether the account or the address has to wait, so that even a right password is refused."""
        return bool(self.known.account_is_held or self.known.place_is_held)

    def fail(self) -> None:
        """Count the attempt as failed, even if this unit of work is rolled back."""
        self.outcome = _Outcome.FAILED

    def succeed_separately(self) -> None:
        """Count the attempt as genuine, even if this unit of work is rolled back."""
        self.outcome = _Outcome.SUCCEEDED

    def succeed(self, *, upgraded: str | None) -> None:
        """Count the attempt as genuine with this unit of work; store the hash that replaces an outdated one."""
        self.session.unit.separate_writes.remove(self.settle)
        self._end(self.session, upgraded)

    def settle(self, separate: Session) -> None:
        """Give the place back, with what became of the attempt."""
        if self.outcome is _Outcome.FAILED:
            self._count_failure(separate)
        elif self.outcome is _Outcome.SUCCEEDED:
            self._end(separate, None)
        else:
            separate.execute(_RELEASE, self._keys())

    def _end(self, session: Session, upgraded: str | None) -> None:
        session.execute(_END, {**self._keys(), "user_id": self.known.user_id, "upgraded": upgraded})

    def _count_failure(self, separate: Session) -> None:
        """Count and record a failure; the one from which on the account is held is reported to its owner.

        For an account that does not exist it takes the same steps.
        """
        settings = self.services.settings
        given = {
            **self._keys(),
            **_allowed(self.services),
            "first_s": settings.lockout_first_s,
            "longest_s": settings.lockout_longest_s,
        }
        failures = separate.execute(_FAIL, given).scalar_one()
        is_first_lockout = failures == settings.lockout_account_after
        _record(
            separate,
            self.session,
            self.known.user_id,
            SecurityEventKind.SIGN_IN_LOCKED if is_first_lockout else SecurityEventKind.SIGN_IN_FAILED,
        )
        if is_first_lockout:
            owe(separate, self.services, "accounts.tell_of_lockout", self.email)

    def _keys(self) -> dict[str, bytes | None]:
        """Return under which keys the attempt has a place: a held one has given none."""
        account, place = account_key(self.services, self.email), _place(self.session, self.services)
        return {
            "account": None if self.known.account_is_held else account,
            "place": None if self.known.place_is_held else place,
        }


def account_key(services: Services, email: str) -> bytes:
    """Return what identifies an account where attempts are counted."""
    return services.tokens.opaque.keyed("account", email_key(email))


def begin(session: Session, services: Services, email: str) -> Attempt:
    """Take a place for an attempt; return it with what is known of the account.

    It is committed separately, and the connection released: what follows takes long, and may be rolled back.

    :raises TooManyAtOnce: so many attempts are in flight that this one might be a guess too many.
    """
    session.release()
    known = _take_place(session, services, email)
    for pause_s in _PAUSES_S:
        if not known.is_full:
            break
        time.sleep(pause_s)
        known = _take_place(session, services, email)
    if known.is_full:
        raise TooManyAtOnce
    attempt = Attempt(session, services, email, known)
    in_separate_transaction(session, attempt.settle)
    return attempt


def _take_place(session: Session, services: Services, email: str) -> AnyRow:
    given = {
        "email_key": email_key(email),
        "account": account_key(services, email),
        "place": _place(session, services),
        **_allowed(services),
    }
    with unit_of_work(like=session.unit) as separate:
        known: AnyRow = separate.execute(_BEGIN, given).one()
    return known


def note_failure(session: Session, user_id: UUID | None, kind: SecurityEventKind) -> None:
    """Record a refused sign-in in each organization of the user, else in the platform's; it outlives the refusal."""
    in_separate_transaction(session, lambda separate: _record(separate, session, user_id, kind))


def _record(separate: Session, session: Session, user_id: UUID | None, kind: SecurityEventKind) -> None:
    unit = session.unit
    metrics.security_events.labels(kind.value).inc()
    given = {"user_id": user_id, "kind": kind.value, "at": unit.now, "address": unit.address, "trace_id": unit.trace_id}
    separate.execute(_FAILED, given)


def owe(session: Session, services: Services, job: str, email: str) -> None:
    """Enqueue an e-mail to an address that may or may not be a user's; it is stored encrypted."""
    session.enter(PLATFORM_ID)
    enqueue(session, job, email=services.ring.seal(email.encode(), context=job))


def _allowed(services: Services) -> dict[str, Any]:
    settings = services.settings
    return {"account_allowed": settings.lockout_account_after, "place_allowed": settings.lockout_address_after}


def _place(session: Session, services: Services) -> bytes:
    return services.tokens.opaque.keyed("address", customer(session.unit.address))
