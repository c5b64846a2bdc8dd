"""Record which of the project's files a function call enters, in order."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

PACKAGE = str(ROOT / "campshub") + "/"


def files_passed(work: Callable[[], Any]) -> list[str]:
    """Run ``work``; return the files of ``campshub`` whose functions it called in this thread, relative to the root."""
    found: dict[str, None] = {}

    def profile(frame: Any, event: str, _argument: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE):
            found.setdefault(name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    assert threading.current_thread() is threading.main_thread()
    return [str(Path(name).relative_to(ROOT)) for name in found]
