"""The statements on messages of the outbox: enqueue, claim, extend, finish, retry, and relay.

A claim moves ``available_at`` into the future and increments ``claims``, the fencing token. Every later write is
conditional on the token, so a worker whose claim has expired changes nothing. The outbox is not stamped, because no
cached response depends on it.
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

# Jobs of a suspended or closed organization wait until it is active again.
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

_OF_CLAIM = (
    "WHERE organization_id = :organization AND id = :id AND claims = :claim AND finished_at IS NULL RETURNING id"
)


def _update_claimed(change: str) -> TextClause:
    return text(f"UPDATE outbox SET {change} {_OF_CLAIM}")  # noqa: S608 - constants of this file


_FINISH = _update_claimed("finished_at = now(), problem = NULL")
_EXTEND = _update_claimed(
    "available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)"
)
# The claim goes on: 1 is the first attempt of the next step. After a yield, the next claim makes it 1.
_ADVANCE = _update_claimed(
    "attempts = 1, available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)"
)
_YIELD = _update_claimed("attempts = 0, available_at = now(), resend_at = now() + INTERVAL '15 seconds'")
_RETRY_LATER = _update_claimed(
    "problem = :problem, attempts = attempts - :uncounted,"
    " available_at = now() + make_interval(secs => :s), resend_at = now() + make_interval(secs => :s)"
)
_FAIL = _update_claimed("problem = :problem, died_at = now()")
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
_INSERT_SLOTS = text(
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
    """The claim has expired, and another worker may have the message: this transaction must not commit."""


def claim(session: Session, organization_id: UUID, id_: UUID, *, jobs: Sequence[str], claim_s: float) -> AnyRow | None:
    """Claim a message; None if it is not due, is finished, or is running elsewhere."""
    values = {"organization": organization_id, "id": id_, "jobs": list(jobs), "claim_s": claim_s}
    return session.execute(_CLAIM_ONE, values).one_or_none()


def claim_next(session: Session, *, jobs: Sequence[str], claim_s: float) -> AnyRow | None:
    """Claim the message that has been due longest; None if none is due."""
    return session.execute(_CLAIM_NEXT, {"jobs": list(jobs), "claim_s": claim_s}).one_or_none()


def finish(session: Session, run: Any) -> None:
    """Finish a message; with the effect in the same transaction, both happen exactly once or not at all.

    :raises ClaimLost: the claim is no longer valid.
    """
    _write(session, _FINISH, run)


def extend_claim(session: Session, run: Any, *, seconds: float) -> None:
    """Extend a claim.

    :raises ClaimLost: it is no longer valid.
    """
    _write(session, _EXTEND, run, s=seconds)


def advance(session: Session, run: Any, *, seconds: float) -> None:
    """Record a finished step: extend the claim, and reset the count of attempts.

    :raises ClaimLost: it is no longer valid.
    """
    _write(session, _ADVANCE, run, s=seconds)


def yield_claim(session: Session, run: Any) -> None:
    """Release a claim before the job is finished, so that other jobs can run.

    :raises ClaimLost: it is no longer valid.
    """
    _write(session, _YIELD, run)


def retry_later(session: Session, run: Any, *, seconds: float, problem: str | None, counts: bool) -> None:
    """Schedule a retry of a message; with ``counts``, it counts as an attempt.

    :raises ClaimLost: the claim is no longer valid.
    """
    _write(session, _RETRY_LATER, run, s=seconds, problem=problem, uncounted=0 if counts else 1)


def fail(session: Session, run: Any, *, problem: str) -> None:
    """Mark a message as dead.

    :raises ClaimLost: the claim is no longer valid.
    """
    _write(session, _FAIL, run, problem=problem)


def relay(session: Session, *, again_s: float) -> list[AnyRow]:
    """Return due messages whose call was probably lost, and do not return them again for ``again_s``."""
    return list(session.execute(_RELAY, {"most": RELAYED_AT_ONCE, "again_s": again_s}))


def insert_slots(session: Session, organization_id: UUID, slots: Sequence[Mapping[str, Any]]) -> list[AnyRow]:
    """Enqueue the slots of a schedule that are not enqueued yet; return their messages."""
    rows = orjson.dumps([{"id": new_id(), **slot} for slot in slots]).decode()
    return list(session.execute(_INSERT_SLOTS, {"organization": organization_id, "slots": rows}))


def replay(session: Session, *, id_: UUID | None = None, job: str | None = None) -> list[AnyRow]:
    """Enqueue dead messages again; return them."""
    return list(session.execute(_REPLAY, {"id": id_, "job": job}))


def cancel(session: Session, organization_id: UUID, id_: UUID) -> bool:
    """End a message that was never claimed; return whether there was one."""
    return session.execute(_CANCEL, {"organization": organization_id, "id": id_}).first() is not None


def _write(session: Session, statement: TextClause, run: Any, **values: Any) -> None:
    claim_key = {"organization": run.organization_id, "id": run.id, "claim": run.claim}
    if session.execute(statement, {**claim_key, **values}).first() is None:
        raise ClaimLost


def enqueue(session: Session, job: str, **arguments: Any) -> uuid.UUID:
    """Enqueue a job by name with this unit of work's commit; return the message's id.

    The arguments must be JSON values; use ids instead of the data that they identify. A job with steps also gets a row
    in ``jobs`` with the same id, which shows its progress to the user who requested it.
    """
    message_id = new_id()
    session.unit.outbox.append({"id": message_id, "job": job, "arguments": arguments})
    if registry.has_steps(job):
        unit = session.unit
        session.add(Job(id=message_id, job=job, user_id=unit.user_id, api_key_id=unit.api_key_id))
    return message_id
