"""The file itself: objects written as they are finished, so that a page is out of memory when the next one begins."""

import zlib
from array import array
from collections.abc import Iterable
from typing import IO

from campshub.reports.pdf.fonts import Typeface
from campshub.reports.pdf.setting import number

_LEVEL = 6
_BRANCH = 500  # pages under one node of the tree
_HEAD_OF_LETTERS = (
    b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
    b"/CMapName /Adobe-Identity-UCS def /CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def\n"
    b"1 begincodespacerange <0000><FFFF> endcodespacerange\n"
)


class PdfFile:
    """Writes a PDF 1.7 forwards, without ever looking back."""

    def __init__(self, out: IO[bytes]) -> None:
        """Write the head."""
        self._out, self._at = out, 0
        self._offsets = array("Q", [0])
        self._pages: list[int] = []
        self.resources, self._root = self.reserve(), self.reserve()
        self._nodes: list[int] = []
        self._put(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return len(self._pages)

    def reserve(self) -> int:
        """Return the number of an object that is written later."""
        self._offsets.append(0)
        return len(self._offsets) - 1

    def object(self, words: bytes, reserved: int | None = None) -> int:
        """Write an object; return its number."""
        made = reserved or self.reserve()
        self._offsets[made] = self._at
        self._put(b"%d 0 obj\n%s\nendobj\n" % (made, words))
        return made

    def stream(self, content: bytes, words: bytes = b"", reserved: int | None = None) -> int:
        """Write an object with content, packed; return its number."""
        packed = zlib.compress(content, _LEVEL)
        head = b"<</Length %d/Filter/FlateDecode%s>>\nstream\n" % (len(packed), words)
        return self.object(head + packed + b"\nendstream", reserved)

    def page(self, content: bytes, width: float, height: float) -> None:
        """Write a page."""
        if len(self._pages) % _BRANCH == 0:
            self._nodes.append(self.reserve())
        body = self.stream(content)
        box = b"[0 0 %s %s]" % (number(width), number(height))
        words = b"<</Type/Page/Parent %d 0 R/MediaBox %s/Resources %d 0 R/Contents %d 0 R>>"
        self._pages.append(self.object(words % (self._nodes[-1], box, self.resources, body)))

    def finish(self, faces: Iterable[Typeface], forms: dict[str, int], title: str, at: str) -> None:
        """Write the fonts, the tree of pages and the table of objects."""
        fonts = b"".join(b"/%s %d 0 R" % (face.name.encode(), self._font(face)) for face in faces)
        named = b"".join(b"/%s %d 0 R" % (name.encode(), made) for name, made in forms.items())
        self.object(b"<</Font<<%s>>/XObject<<%s>>>>" % (fonts, named), self.resources)
        for index, node in enumerate(self._nodes):
            pages = self._pages[index * _BRANCH : (index + 1) * _BRANCH]
            kids = b" ".join(b"%d 0 R" % page for page in pages)
            self.object(b"<</Type/Pages/Parent %d 0 R/Count %d/Kids[%s]>>" % (self._root, len(pages), kids), node)
        nodes = b" ".join(b"%d 0 R" % node for node in self._nodes)
        self.object(b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(self._pages), nodes), self._root)
        catalog = self.object(b"<</Type/Catalog/Pages %d 0 R/ViewerPreferences<</DisplayDocTitle true>>>>" % self._root)
        info = self.object(b"<</Title %s/Producer(CampsHub)/CreationDate(%s)>>" % (_text(title), at.encode()))
        self._end(catalog, info)

    def _end(self, catalog: int, info: int) -> None:
        begins, count = self._at, len(self._offsets)
        self._put(b"xref\n0 %d\n0000000000 65535 f \n" % count)
        for first in range(1, count, 1000):
            self._put(b"".join(b"%010d 00000 n \n" % offset for offset in self._offsets[first : first + 1000]))
        words = b"trailer\n<</Size %d/Root %d 0 R/Info %d 0 R>>\nstartxref\n%d\n%%%%EOF\n"
        self._put(words % (count, catalog, info, begins))

    def _font(self, face: Typeface) -> int:
        name = b"/CAMPSH+%s-%s" % (face.path.stem.encode(), face.name.encode())
        program, kind = face.subset(), b"CIDFontType0" if face.is_cff else b"CIDFontType2"
        kept = self.stream(program, b"/Subtype/CIDFontType0C" if face.is_cff else b"/Length1 %d" % len(program))
        ascent, descent = face.bounds[4:]
        box = b" ".join(b"%d" % edge for edge in face.bounds[:4])
        descriptor = self.object(
            b"<</Type/FontDescriptor/FontName%s/Flags 4/FontBBox[%s]/ItalicAngle 0/Ascent %d/Descent %d"
            b"/CapHeight %d/StemV 80/%s %d 0 R>>"
            % (name, box, ascent, descent, ascent, b"FontFile3" if face.is_cff else b"FontFile2", kept)
        )
        widths = b" ".join(b"%d[%s]" % (made, number(one[2])) for made, one in sorted(face.used.items()))
        map_ = b"" if face.is_cff else b"/CIDToGIDMap %d 0 R" % self.stream(_glyphs(face))
        descendant = self.object(
            b"<</Type/Font/Subtype/%s/BaseFont%s/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
            b"/FontDescriptor %d 0 R/DW 1000/W[%s]%s>>" % (kind, name, descriptor, widths, map_)
        )
        letters = self.stream(_letters(face))
        return self.object(
            b"<</Type/Font/Subtype/Type0/BaseFont%s/Encoding/Identity-H/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>"
            % (name, descendant, letters)
        )

    def _put(self, words: bytes) -> None:
        self._out.write(words)
        self._at += len(words)


def _glyphs(face: Typeface) -> bytes:
    """Write which glyph each number stands for."""
    table = [0] * (max(face.used) + 1)
    for made, (glyph, _, _) in face.used.items():
        table[made] = glyph
    return b"".join(glyph.to_bytes(2, "big") for glyph in table)


def _letters(face: Typeface) -> bytes:
    """Write which letters the glyphs stand for, so that the page can be searched and copied."""
    told = [(made, letter) for made, (_, letter, _) in sorted(face.used.items()) if letter]
    parts = [_HEAD_OF_LETTERS]
    for first in range(0, len(told), 100):
        some = told[first : first + 100]
        lines = b"".join(b"<%04X><%s>\n" % (glyph, text.encode("utf-16-be").hex().encode()) for glyph, text in some)
        parts.append(b"%d beginbfchar\n%sendbfchar\n" % (len(some), lines))
    parts.append(b"endcmap CMapName currentdict /CMap defineresource pop end end\n")
    return b"".join(parts)


def _text(text: str) -> bytes:
    return b"<FEFF%s>" % text.encode("utf-16-be", "replace").hex().encode()
