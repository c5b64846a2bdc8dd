"""The child process: render a document or a picture, count pages, or join files; JSON on stdin and stdout.

Typst reads fonts and the folder with the templates that the request names. The document is passed as data, and no
packages can be loaded.
"""

import signal
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

OWN_TEMPLATES = Path(__file__).parent / "templates"
_PIXELS_PER_INCH = 192  # two for each pixel of an SVG, of which an inch has 96
_NO_PACKAGES = "/nonexistent"
_NO_STANDARD: list[Any] = []


def render(request: dict[str, Any]) -> dict[str, Any]:
    """Write a document as PDF, tagged if ``is_tagged`` is set."""
    compiler, fonts = _compiler(request)
    if compiler is None:
        return {"problem": "no_fonts"}
    is_tagged = request["is_tagged"]
    compiler.compile(
        output=request["output"],
        format="pdf",
        pdf_standards=["ua-1"] if is_tagged else _NO_STANDARD,
        pdf_tags=is_tagged,
        timestamp=request["timestamp"],
    )
    return {"missing": sorted(fonts.missing)}


def count_pages(request: dict[str, Any]) -> dict[str, Any]:
    """Return the number of a document's pages, without writing it."""
    compiler, _ = _compiler(request)
    if compiler is None:
        return {"problem": "no_fonts"}
    return {"pages": orjson.loads(compiler.query("<pages>", field="value", one=True))}


def picture(request: dict[str, Any]) -> dict[str, Any]:
    """Return a picture as PNG, in base64: an SVG with texts on top of it."""
    document = {name: request[name] for name in ("svg", "texts", "locale")}
    compiler, _ = _compiler({**request, "document": document, "templates": str(OWN_TEMPLATES), "template": "picture"})
    if compiler is None:
        return {"problem": "no_fonts"}
    return {"png": b64encode(compiler.compile(format="png", ppi=_PIXELS_PER_INCH)).decode()}


def join(request: dict[str, Any]) -> dict[str, Any]:
    """Join files into one, with the title, language and bookmarks of the first."""
    from pypdf import PdfWriter  # noqa: PLC0415 - the other commands do without
    from pypdf.generic import BooleanObject, NameObject  # noqa: PLC0415 - as above

    first, *others = request["files"]
    writer = PdfWriter(clone_from=first)  # not in a `with`, which would drop the title and the language
    for file in others:
        writer.append(file, import_outline=False)
    writer.create_viewer_preferences()[NameObject("/DisplayDocTitle")] = BooleanObject(True)
    writer.write(request["output"])
    return {}


def _compiler(request: dict[str, Any]) -> tuple[Any, Any]:
    """Return a compiler for a document, and its fonts; None instead of a compiler if there are no fonts."""
    import typst  # noqa: PLC0415 - joining does without

    from campshub.core.typesetting.fonts import Fonts  # noqa: PLC0415 - as Typst

    document = request["document"]
    fonts = Fonts(request["fonts"], document["locale"])
    if not fonts.exist:
        return None, fonts
    document = fonts.printable(document)
    document["fonts"] = fonts.used()
    compiler = typst.Compiler(
        str(Path(request["templates"]) / f"{request['template']}.typ"),
        root=request["templates"],
        font_paths=fonts.typst,
        ignore_system_fonts=True,
        sys_inputs={"document": orjson.dumps(document).decode()},
        package_path=_NO_PACKAGES,
        package_cache_path=_NO_PACKAGES,
    )
    return compiler, fonts


_COMMANDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "render": render,
    "count_pages": count_pages,
    "join": join,
    "picture": picture,
}


def main() -> None:
    """Run the command from standard input; an alarm ends a child whose parent was killed."""
    request = orjson.loads(sys.stdin.buffer.read())
    signal.alarm(int(request["limit_s"]) + 1)
    reply = _COMMANDS[request["command"]](request)
    sys.stdout.buffer.write(orjson.dumps(reply))


if __name__ == "__main__":
    main()
