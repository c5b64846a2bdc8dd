"""The names of slots: two ways to write one time of day are one slot."""

import re
import unicodedata

MOST_CHARACTERS = 40
_TIME = re.compile(r"([0-9]|1[0-9]|2[0-3]):[0-5][0-9]")


def normalized(text: str) -> str:
    """Return a slot as it is stored: the hour of a time is padded to two digits; another name stays as it is."""
    time = unicodedata.normalize("NFKC", text)  # full-width digits become ASCII digits
    return time.zfill(len("00:00")) if _TIME.fullmatch(time) else text
