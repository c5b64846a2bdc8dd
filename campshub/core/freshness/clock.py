"""The clock that promises are held by: on it time passes while the machine sleeps, too.

A process that wakes up from a suspended laptop or host must not think that what it was told an hour ago is fresh.
"""

import time

# Linux's own. Elsewhere the usual clock has to do, which stands still meanwhile.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the seconds since some moment in the past; they never run back."""
    return time.clock_gettime(_CLOCK)
