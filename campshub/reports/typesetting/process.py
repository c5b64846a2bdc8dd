"""The child process that sets a document: it has a time limit, and its memory returns to the system when it ends."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

import campshub

LIMIT_S = 300
_COMMAND = [sys.executable, "-m", "campshub.reports.typesetting.child"]
_FOUND = Path(campshub.__file__).parents[1]
# The child has no network to load Typst packages from: a closed port stands for every proxy.
_NO_PROXY_ANSWERS = "http://127.0.0.1:9"


class NoFonts(Exception):
    """The machine has no Noto fonts; install fonts-noto-core and fonts-noto-cjk, or name a folder in REPORT_FONTS."""


class TypesettingFailed(Exception):
    """The child process did not set the document: it was stopped, ran out of time, or refused the template."""


def run(request: dict[str, Any], *, limit_s: float | None = None) -> dict[str, Any]:
    """Have a child process do what ``child`` offers; return its reply.

    :raises NoFonts: there are none.
    :raises TypesettingFailed: it ended without a reply.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    try:
        ended = subprocess.run(  # noqa: S603 - this interpreter, a module of ours
            _COMMAND,
            input=orjson.dumps({**request, "limit_s": limit_s}),
            capture_output=True,
            timeout=limit_s,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise TypesettingFailed(f"no document after {limit_s:g} s") from None
    if ended.returncode != 0:
        last_line = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise TypesettingFailed(f"ended with {ended.returncode}: {last_line}")
    reply: dict[str, Any] = orjson.loads(ended.stdout)
    if reply.get("problem") == "no_fonts":
        raise NoFonts(NoFonts.__doc__)
    return reply


def _environment() -> dict[str, str]:
    """Return the child's environment: none of our settings, and so none of our secrets."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NO_PROXY_ANSWERS)
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, **proxies, "PYTHONPATH": str(_FOUND), "PYTHONUTF8": "1"}
