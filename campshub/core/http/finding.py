"""What answers a read: what is kept, else what the database says, asked once for all who want it at the same time."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from campshub.core.cache.memory import Kept
from campshub.core.http import reading
from campshub.core.http.answers import Finished
from campshub.core.http.call import Call

if TYPE_CHECKING:
    from campshub.core.http.asking import Known


def find(call: Call, known: "Known") -> Finished | Kept:
    """Return the answer of a call that has been admitted, if anything is known of who calls.

    :raises SessionEnded: nothing was known, and the token is from before a sign-out or the loss of the membership.
    """
    if known.kept is not None:
        return known.kept
    if known.place is None:
        return reading.read(call, known.asked, is_admitted=known.caller is not None)
    with call.platform.answers.flight(known.asked.answer_key) as (flight, leads):
        if not leads and flight.found is not None:
            found: Kept = flight.found
            return found
        finished = reading.read(call, known.asked, is_admitted=True)
        flight.found = _keep(call, known, finished)
        return finished


def _keep(call: Call, known: "Known", finished: Finished) -> Kept | None:
    """Keep what was read, unless nobody knows how fresh it is."""
    if known.asked.is_unverified or finished.status != HTTPStatus.OK or call.claims is None:
        return None
    platform, life_s = call.platform, call.platform.life_s(call.handler.mark)
    kept = Kept(known.asked.answer_key, finished.body, finished.etag, finished.link)
    platform.answers.memory.put(known.place, kept, life_s)
    platform.answers.store(platform.freshness.wire_of(call.claims.organization), kept, life_s)
    return kept
