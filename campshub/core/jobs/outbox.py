"""The outbox: what must happen after a commit is written down in it, so that neither can be without the other."""

import uuid
from typing import Any

from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.jobs import registry
from campshub.core.jobs.models import Job


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
