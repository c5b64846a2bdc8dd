"""The time zones that a person or a device may name."""

from functools import cache
from importlib.resources import files
from zoneinfo import available_timezones


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the IANA database that this machine knows, old names such as Asia/Calcutta among them.

    Browsers and phones still send old names. The system's own folder has more files (``localtime`` is whatever the
    machine is set to), and ``Factory`` stands for a machine that has no time zone yet.
    """
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed).intersection(available_timezones()) - {"Factory"}
