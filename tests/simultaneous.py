"""Requests that wait for each other's transaction."""

import threading
import time

import pytest

from campshub.core.db import unit_of_work

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
def simultaneously(monkeypatch, sql):
    """Send requests while the transaction of the first one is open, until all of them wait; return the responses."""

    def at_once(first, *others):
        arrived, go, complete = threading.Event(), threading.Event(), unit_of_work.commit_with_effects
        responses = [None] * (1 + len(others))

        def later(*given):
            if not arrived.is_set():
                arrived.set()
                assert go.wait(30)
            return complete(*given)

        def send(number, request):
            responses[number] = request()

        with monkeypatch.context() as patch:
            patch.setattr(unit_of_work, "commit_with_effects", later)
            threads = [threading.Thread(target=send, args=pair) for pair in enumerate((first, *others))]
            threads[0].start()
            assert arrived.wait(30), responses
            deadline = time.monotonic() + 20
            for number, thread in enumerate(threads[1:], start=1):
                thread.start()
                while sql(WAITING)[0][0] < number and thread.is_alive() and time.monotonic() < deadline:
                    time.sleep(0.01)
            waited = all(thread.is_alive() for thread in threads)
            go.set()
            for thread in threads:
                thread.join()
        assert waited, [response.raw.get_data(as_text=True) for response in responses]
        return responses

    return at_once
