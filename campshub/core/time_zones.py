"""The time zones that a person or a device may use."""

from functools import cache
from importlib.resources import files
from zoneinfo import available_timezones


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the IANA database that this machine knows, including old names such as Asia/Calcutta.

    Browsers and phones still send old names. The system's folder has more files (``localtime`` is the setting of the
    machine), and ``Factory`` means a machine without a time zone.
    """
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed).intersection(available_timezones()) - {"Factory"}
