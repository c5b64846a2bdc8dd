"""Keeping a claim alive while its job works for long; whoever dies keeps it no longer."""

import contextlib
import logging
import threading
from types import TracebackType
from typing import Self

from flask import current_app

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import store
from campshub.core.jobs.registry import Run

log = logging.getLogger(__name__)


class Kept(contextlib.AbstractContextManager["Kept"]):
    """Renews a claim, thrice in the time that it holds, from a thread of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seconds = run.services.settings.job_claim_s
        self._is_over = threading.Event()
        self._app = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - the name is public
        self._thread = threading.Thread(target=self._renew, name=f"keeps {run.job}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Renew no more, and wait until a renewal that is at work has ended."""
        self._is_over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._is_over.wait(self._seconds / 3):
            try:
                with self._app.app_context(), unit_of_work(system=True) as session:
                    store.keep(session, self._run, seconds=self._seconds)
            except store.ClaimLost:
                return
            except Exception:  # tried again in a moment; a claim that is lost meanwhile writes nothing
                log.exception("a claim could not be renewed: %s", self._run.id)
