"""Sign-in attempts: counted in the database by account and by IP address, with growing delays after failures.

An attempt in flight occupies one of the slots that are left before its account or address is locked out. Without a free
slot it waits a moment, then gets 429. So concurrent attempts never check more guesses than may fail, and a correct
password is not refused because others are being checked. Accounts that do not exist are counted in the same way, by a
keyed hash of the e-mail address. A lockout is temporary: it lasts at most the longest delay, and a reset by e-mail ends
it.
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
from campshub.core.ip_addresses import customer_of
from campshub.core.jobs.store import enqueue
from campshub.core.normalization import email_key
from campshub.core.observe import metrics
from campshub.core.security.events import SecurityEventKind
from campshub.core.service_base import Services

# The successive pauses of an attempt that waits for a slot.
_PAUSES_S = (0.1, 0.2, 0.4)
_BEGIN = text("SELECT * FROM begin_sign_in(:email_key, :account, :account_allowed, :address, :address_allowed)")
_RELEASE = text("SELECT release_sign_in(:account, :address)")
_END = text("SELECT end_sign_in(:account, :address, :user_id, :upgraded)")
_FAIL = text(
    "SELECT fail_sign_in(:account, :account_allowed, :address, :address_allowed, :first_s, :longest_s) AS failures"
)
_FAILED = text("SELECT sign_in_failed(:user_id, :kind, :at, :address, :trace_id)")


class TooManyAtOnce(RateLimited):
    """Too many sign-ins to this account or from this address are in progress; retry shortly."""

    code = "too_many_at_once"
    default_detail = "Too many sign-ins to this account or from this address are in progress; retry shortly."

    def __post_init__(self) -> None:
        """Add Retry-After."""
        super().__post_init__()
        self.headers.setdefault("Retry-After", "1")


class _Outcome(StrEnum):
    RELEASED = "released"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


@dataclass(eq=False)
class Attempt:
    """One attempt in flight, with the data of its account; it does not count unless it fails or succeeds."""

    session: Session
    services: Services
    email: str
    known: AnyRow
    outcome: _Outcome = field(default=_Outcome.RELEASED, init=False)

    @property
    def is_held(self) -> bool:
        """Whether the account or the address is locked out, so that even a correct password is refused."""
        return bool(self.known.account_is_held or self.known.place_is_held)

    def fail(self) -> None:
        """Count the attempt as failed, even if this unit of work is rolled back."""
        self.outcome = _Outcome.FAILED

    def succeed_separately(self) -> None:
        """Count the attempt as successful, even if this unit of work is rolled back."""
        self.outcome = _Outcome.SUCCEEDED

    def succeed(self, *, upgraded: str | None) -> None:
        """Count the attempt as successful with this unit of work; store the hash that replaces an outdated one."""
        self.session.unit.separate_writes.remove(self.settle)
        self._end(self.session, upgraded)

    def settle(self, separate: Session) -> None:
        """Release the slot and record the outcome."""
        if self.outcome is _Outcome.FAILED:
            self._count_failure(separate)
        elif self.outcome is _Outcome.SUCCEEDED:
            self._end(separate, None)
        else:
            separate.execute(_RELEASE, self._keys())

    def _end(self, session: Session, upgraded: str | None) -> None:
        session.execute(_END, {**self._keys(), "user_id": self.known.user_id, "upgraded": upgraded})

    def _count_failure(self, separate: Session) -> None:
        """Count and record a failure; the first one that locks the account out is reported to its owner.

        The steps are the same for an account that does not exist.
        """
        settings = self.services.settings
        values = {
            **self._keys(),
            **_limits(self.services),
            "first_s": settings.lockout_first_s,
            "longest_s": settings.lockout_longest_s,
        }
        failures = separate.execute(_FAIL, values).scalar_one()
        is_first_lockout = failures == settings.lockout_account_after
        _record(
            separate,
            self.session,
            self.known.user_id,
            SecurityEventKind.SIGN_IN_LOCKED if is_first_lockout else SecurityEventKind.SIGN_IN_FAILED,
        )
        if is_first_lockout:
            enqueue_email(separate, self.services, "accounts.notify_of_lockout", self.email)

    def _keys(self) -> dict[str, bytes | None]:
        """Return the keys under which the attempt has a slot: none for an account or address that is locked out."""
        account, address = account_key(self.services, self.email), _address_key(self.session, self.services)
        return {
            "account": None if self.known.account_is_held else account,
            "address": None if self.known.place_is_held else address,
        }


def account_key(services: Services, email: str) -> bytes:
    """Return the key under which an account's attempts are counted."""
    return services.tokens.opaque.keyed("account", email_key(email))


def begin(session: Session, services: Services, email: str) -> Attempt:
    """Reserve a slot for an attempt; return the attempt with the data of its account.

    The reservation commits separately and the connection is released: the next steps are slow and may be rolled back.

    :raises TooManyAtOnce: all slots are taken by attempts in flight.
    """
    session.release()
    known = _reserve_slot(session, services, email)
    for pause_s in _PAUSES_S:
        if not known.is_full:
            break
        time.sleep(pause_s)
        known = _reserve_slot(session, services, email)
    if known.is_full:
        raise TooManyAtOnce
    attempt = Attempt(session, services, email, known)
    in_separate_transaction(session, attempt.settle)
    return attempt


def _reserve_slot(session: Session, services: Services, email: str) -> AnyRow:
    values = {
        "email_key": email_key(email),
        "account": account_key(services, email),
        "address": _address_key(session, services),
        **_limits(services),
    }
    with unit_of_work(like=session.unit) as separate:
        known: AnyRow = separate.execute(_BEGIN, values).one()
    return known


def record_failure(session: Session, user_id: UUID | None, kind: SecurityEventKind) -> None:
    """Record a refused sign-in in each organization of the user, else in the platform's, separately from this unit."""
    in_separate_transaction(session, lambda separate: _record(separate, session, user_id, kind))


def _record(separate: Session, session: Session, user_id: UUID | None, kind: SecurityEventKind) -> None:
    unit = session.unit
    metrics.security_events.labels(kind.value).inc()
    values = {
        "user_id": user_id,
        "kind": kind.value,
        "at": unit.now,
        "address": unit.address,
        "trace_id": unit.trace_id,
    }
    separate.execute(_FAILED, values)


def enqueue_email(session: Session, services: Services, job: str, email: str) -> None:
    """Enqueue an e-mail to an address, whether or not it belongs to a user; the address is stored encrypted."""
    session.enter(PLATFORM_ID)
    enqueue(session, job, email=services.ring.seal(email.encode(), context=job))


def _limits(services: Services) -> dict[str, Any]:
    settings = services.settings
    return {"account_allowed": settings.lockout_account_after, "address_allowed": settings.lockout_address_after}


def _address_key(session: Session, services: Services) -> bytes:
    return services.tokens.opaque.keyed("address", customer_of(session.unit.address))
