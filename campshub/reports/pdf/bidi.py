"""Which way the letters of a line run: the Unicode Bidirectional Algorithm (UAX 9) for lines of plain text.

Names and notes carry no explicit embeddings; those that someone pasted are neutral here. Brackets take the direction
around them like other neutrals (rule N0 is left out); HarfBuzz mirrors them.
"""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

_STRONG = frozenset({"L", "R", "AL"})
_NEUTRAL = frozenset({"B", "S", "WS", "ON", "BN", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_FIRST_RTL = "\u0590"


def levels(text: str) -> list[int]:
    """Return each letter's level: even runs left to right, odd right to left."""
    if not any(letter >= _FIRST_RTL for letter in text):
        return [0] * len(text)
    types = [unicodedata.bidirectional(letter) or "L" for letter in text]
    base = int(next((one for one in types if one in _STRONG), "L") != "L")
    blank = [one in {"WS", "S", "B"} for one in types]
    _weak(types, "R" if base else "L")
    _neutral(types, "R" if base else "L")
    found = [_level(one, base) for one in types]
    for index in range(len(found) - 1, -1, -1):  # L1: blanks at the end stand at the line's own level
        if not blank[index]:
            break
        found[index] = base
    return found


def order(found: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the runs of one level, (begin, end, level), in the order in which they stand from left to right."""
    if not found:
        return []
    breaks = [0, *(index for index, (one, two) in enumerate(pairwise(found), 1) if one != two), len(found)]
    runs = [(begin, end, found[begin]) for begin, end in pairwise(breaks)]
    for level in range(max(found), 0, -1):
        index = 0
        while index < len(runs):
            end = index
            while end < len(runs) and runs[end][2] >= level:
                end += 1
            runs[index:end] = runs[index:end][::-1]
            index = max(end, index + 1)
    return runs


def _weak(types: list[str], outside: str) -> None:
    """Resolve marks, numbers and what stands between them (W1 to W7)."""
    before = outside
    for index, one in enumerate(types):
        types[index] = before if one == "NSM" else one
        before = types[index]
    strong = outside
    for index, one in enumerate(types):
        if one in _STRONG:
            strong = one
        elif one == "EN" and strong == "AL":
            types[index] = "AN"
    types[:] = ["R" if one == "AL" else one for one in types]
    for index in range(1, len(types) - 1):
        left, one, right = types[index - 1 : index + 2]
        if left == right and ((one == "ES" and left == "EN") or (one == "CS" and left in {"EN", "AN"})):
            types[index] = left
    _terminators(types)
    types[:] = ["ON" if one in {"ES", "ET", "CS"} else one for one in types]
    strong = outside
    for index, one in enumerate(types):
        if one in _STRONG:
            strong = one
        elif one == "EN" and strong == "L":
            types[index] = "L"


def _terminators(types: list[str]) -> None:
    """Let signs such as % and currencies go with the number beside them (W5)."""
    for indices in (range(1, len(types)), range(len(types) - 2, -1, -1)):
        step = 1 if indices.step > 0 else -1
        for index in indices:
            if types[index] == "ET" and types[index - step] == "EN":
                types[index] = "EN"


def _neutral(types: list[str], outside: str) -> None:
    """Give neutrals the direction of both sides, else that of the line (N1, N2)."""
    index = 0
    while index < len(types):
        end = index
        while end < len(types) and types[end] in _NEUTRAL:
            end += 1
        if end == index:
            index += 1
            continue
        left = _side(types[index - 1]) if index else outside
        right = _side(types[end]) if end < len(types) else outside
        types[index:end] = [left if left == right else outside] * (end - index)
        index = end


def _side(one: str) -> str:
    return "L" if one == "L" else "R"  # numbers count as right to left


def _level(one: str, base: int) -> int:
    if base == 0:
        return {"L": 0, "R": 1}.get(one, 2)
    return 1 if one == "R" else 2
