"""What becomes of messages of the outbox, a statement each: claimed, kept, ended, and sent again.

A claim moves ``available_at`` into the future and raises ``claims``, the number under which everything that follows is
written. Whoever stood still until their claim was over writes under a number that does not count any more, and so
nothing. Nothing of it is stamped: no kept answer is made of the outbox.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text

from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.jobs import registry
from campshub.core.jobs.models import Job

RELAYED_AT_ONCE = 500

# What an organization owes that is suspended or closed waits until it is active again.
_DUE = """
    finished_at IS NULL AND died_at IS NULL AND available_at <= now() AND job = ANY(:jobs)
    AND NOT EXISTS (SELECT FROM organizations o WHERE o.id = organization_id AND o.status <> 'active')
"""
_CLAIM = """
    WITH due AS (SELECT organization_id, id FROM outbox WHERE {which} AND {due} {order} LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE outbox SET attempts = attempts + 1, claims = claims + 1,
           available_at = now() + make_interval(secs => :claim_s), resend_at = now() + make_interval(secs => :claim_s)
      FROM due WHERE outbox.organization_id = due.organization_id AND outbox.id = due.id
    RETURNING outbox.organization_id, outbox.id, job, arguments, attempts, claims, created_at, trace_id, user_id,
           api_key_id
"""
_CLAIM_ONE = text(_CLAIM.format(which="organization_id = :organization AND id = :id", due=_DUE, order=""))
_CLAIM_NEXT = text(_CLAIM.format(which="true", due=_DUE, order="ORDER BY available_at"))

_MINE = "WHERE organization_id = :organization AND id = :id AND claims = :claim AND finished_at IS NULL RETURNING id"


def _on_mine(change: str) -> TextClause:
    return text(f"UPDATE outbox SET {change} {_MINE}")  # noqa: S608 - words of this file


_FINISH = _on_mine("finished_at = now(), problem = NULL")
_KEEP = _on_mine("available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)")
_ADVANCE = _on_mine(
    "attempts = 1, available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)"
)
_GIVE_WAY = _on_mine("attempts = 0, available_at = now(), resend_at = now() + INTERVAL '15 seconds'")
_COME_AGAIN = _on_mine(
    "problem = :problem, attempts = attempts - :uncounted,"
    " available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)"
)
_DIE = _on_mine("problem = :problem, died_at = now()")
_RELAY = text(
    """
    WITH due AS (
      SELECT organization_id, id FROM outbox
       WHERE finished_at IS NULL AND died_at IS NULL AND resend_at <= now() AND available_at <= now()
         AND NOT EXISTS (SELECT FROM organizations o WHERE o.id = organization_id AND o.status <> 'active')
       ORDER BY resend_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox SET resend_at = now() + make_interval(secs => :again_s)
      FROM due WHERE outbox.organization_id = due.organization_id AND outbox.id = due.id
    RETURNING outbox.organization_id, outbox.id, job
    """
)
_OWE_SLOTS = text(
    """
    INSERT INTO outbox (organization_id, id, job, arguments, trace_id, slot)
    SELECT :organization, id, job, arguments, '', slot
      FROM json_to_recordset(:slots) AS given(id uuid, job text, arguments jsonb, slot timestamptz)
    ON CONFLICT (organization_id, job, slot) WHERE slot IS NOT NULL DO NOTHING
    RETURNING organization_id, id, job
    """
)
_REPLAY = text(
    """
    UPDATE outbox SET died_at = NULL, problem = NULL, attempts = 0, available_at = now(), resend_at = now()
     WHERE died_at IS NOT NULL
       AND (CAST(:id AS uuid) IS NULL OR id = :id) AND (CAST(:job AS text) IS NULL OR job = :job)
    RETURNING organization_id, id, job
    """
)
_CANCEL = text(
    "UPDATE outbox SET finished_at = now() WHERE organization_id = :organization AND id = :id AND claims = 0"
    " AND finished_at IS NULL RETURNING id"
)


class ClaimLost(Exception):
    """The claim was over before this, and somebody else may have the message: nothing of this counts."""


def claim(session: Session, organization_id: UUID, id_: UUID, *, jobs: Sequence[str], claim_s: float) -> AnyRow | None:
    """Claim a message; None where it is not due, is done, or is at work elsewhere."""
    given = {"organization": organization_id, "id": id_, "jobs": list(jobs), "claim_s": claim_s}
    return session.execute(_CLAIM_ONE, given).one_or_none()


def claim_next(session: Session, *, jobs: Sequence[str], claim_s: float) -> AnyRow | None:
    """Claim the message that has been due for longest; None where none is."""
    return session.execute(_CLAIM_NEXT, {"jobs": list(jobs), "claim_s": claim_s}).one_or_none()


def finish(session: Session, run: Any) -> None:
    """Note that a message is done; with the effect in the same transaction, both are there once or not at all.

    :raises ClaimLost: the claim does not count any more.
    """
    _write(session, _FINISH, run)


def extend_claim(session: Session, run: Any, *, seconds: float) -> None:
    """Keep a claim for longer.

    :raises ClaimLost: it does not count any more.
    """
    _write(session, _KEEP, run, s=seconds)


def advance(session: Session, run: Any, *, seconds: float) -> None:
    """Note that a step of a message is done: the claim goes on, and earlier failures are forgiven.

    :raises ClaimLost: it does not count any more.
    """
    _write(session, _ADVANCE, run, s=seconds)


def yield_claim(session: Session, run: Any) -> None:
    """Give a claim back with work left, so that others have their turn.

    :raises ClaimLost: it does not count any more.
    """
    _write(session, _GIVE_WAY, run)


def retry_later(session: Session, run: Any, *, seconds: float, problem: str | None, counts: bool) -> None:
    """Let a message come again after a while.

    :raises ClaimLost: the claim does not count any more.
    """
    _write(session, _COME_AGAIN, run, s=seconds, problem=problem, uncounted=0 if counts else 1)


def fail(session: Session, run: Any, *, problem: str) -> None:
    """Give a message up.

    :raises ClaimLost: the claim does not count any more.
    """
    _write(session, _DIE, run, problem=problem)


def relay(session: Session, *, again_s: float) -> list[AnyRow]:
    """Return messages that are due and that nobody seems to have been told of, and take them for told for a while."""
    return list(session.execute(_RELAY, {"most": RELAYED_AT_ONCE, "again_s": again_s}))


def insert_slots(session: Session, organization_id: UUID, slots: Sequence[Mapping[str, Any]]) -> list[AnyRow]:
    """Owe the slots of a schedule that nobody has owed yet; return those."""
    rows = orjson.dumps([{"id": new_id(), **slot} for slot in slots]).decode()
    return list(session.execute(_OWE_SLOTS, {"organization": organization_id, "slots": rows}))


def replay(session: Session, *, id_: UUID | None = None, job: str | None = None) -> list[AnyRow]:
    """Let messages that were given up begin anew; return them."""
    return list(session.execute(_REPLAY, {"id": id_, "job": job}))


def cancel(session: Session, organization_id: UUID, id_: UUID) -> bool:
    """End a message that nobody has begun; tell whether there was one."""
    return session.execute(_CANCEL, {"organization": organization_id, "id": id_}).first() is not None


def _write(session: Session, statement: TextClause, run: Any, **given: Any) -> None:
    mine = {"organization": run.organization_id, "id": run.id, "claim": run.claim}
    if session.execute(statement, {**mine, **given}).first() is None:
        raise ClaimLost


def enqueue(session: Session, job: str, **arguments: Any) -> uuid.UUID:
    """Owe a job, by name, with this unit of work's commit; return the id that its effect carries.

    The arguments are what JSON can hold, ids rather than what they stand for. A job of many steps has a row in ``jobs``
    under the same id, by which whoever asks for it sees how far it is.
    """
    message_id = new_id()
    session.unit.outbox.append({"id": message_id, "job": job, "arguments": arguments})
    if registry.has_steps(job):
        unit = session.unit
        session.add(Job(id=message_id, job=job, user_id=unit.user_id, api_key_id=unit.api_key_id))
    return message_id
