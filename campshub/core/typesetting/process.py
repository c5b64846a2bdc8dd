"""Run the typesetting child process: it has a time limit, and its memory is freed when it ends."""

import os
import subprocess  # one fixed command, without a shell  # nosec B404
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import orjson

import campshub

LIMIT_S = 300
PICTURE_LIMIT_S = 20
_COMMAND = [sys.executable, "-m", "campshub.core.typesetting.child"]
_ROOT = Path(campshub.__file__).parents[1]
# The child cannot load Typst packages over the network: every proxy is a closed port.
_CLOSED_PROXY = "http://127.0.0.1:9"


class NoFonts(Exception):
    """The machine has no Noto fonts."""

    def __init__(self) -> None:
        advice = "install fonts-noto-core and fonts-noto-cjk, or name a folder in REPORT_FONTS"
        super().__init__(f"The machine has no Noto fonts; {advice}.")


class TypesettingFailed(Exception):
    """The child process did not set the document: it was stopped, ran out of time, or refused the template."""


def run(request: dict[str, Any], *, limit_s: float | None = None) -> dict[str, Any]:
    """Run a command of ``child`` in a child process; return its reply.

    :raises NoFonts: no font was found.
    :raises TypesettingFailed: it ended without a reply.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    try:
        ended = subprocess.run(  # noqa: S603 - this interpreter, a module of ours  # nosec B603
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
        raise NoFonts
    return reply


def png_of(layers: dict[str, Any], *, fonts: str, locale: str) -> bytes:
    """Return a picture (``charts.as_layers``) as PNG, with two pixels for each of the SVG's.

    :raises NoFonts: no font was found.
    :raises TypesettingFailed: it ended without a reply.
    """
    request = {"command": "picture", **layers, "fonts": fonts, "locale": locale}
    return b64decode(run(request, limit_s=PICTURE_LIMIT_S)["png"])


def _environment() -> dict[str, str]:
    """Return the child's environment, without our settings and so without our secrets."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _CLOSED_PROXY)
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    return {**inherited, **proxies, "PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1"}
