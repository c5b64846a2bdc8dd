"""The obvious passwords, made by rules of our own: what people put together when they are told to choose one.

The list that is shipped consists of these. An operator builds a larger one from a public list.
"""

from collections.abc import Iterator

SHORTEST = 8  # no organization may allow a shorter one, so none needs to stand in the list

_TEXT = (
    "abc abcd abcdef access account admin administrator america angel apple attendance baby badminton baseball"
    " basketball batman beautiful boxing camp camper campshub campus change changeme charlie cheese chocolate"
    " class client coach college computer cookie cricket crossfit default demo dragon easy eagle family fitness"
    " flower football forever freedom friend friends games god golf gym guest guitar happy heaven hello hockey"
    " home house iloveyou india internet jesus kabaddi kitten krishna lakshmi letmein lifting liverpool london"
    " login love lovely lucky manager master member mercedes michael monday monkey mother music mustang mypass"
    " mypassword new ninja office orange owner pass passcode passphrase password password's passw0rd p@ssw0rd"
    " p@ssword peace phoenix pokemon princess private qwerty rainbow root samsung school secret service shadow"
    " shivam silver soccer sports star starwars student summer sunday sunshine superman support swimming system"
    " teacher temp tennis test tester tiger trainer training trustno1 user volleyball welcome whatever winner"
    " winter wordpass workout yoga"
)
_WORDS = _TEXT.split()
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "yxcvbnm")
_COLUMNS = ("1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik,", "9ol.", "0p;/", "!qaz", "@wsx")
_ENDS = (
    "", "!", "!!", "!!!", "#", "$", "*", ".", "?", "@", "_", "0", "00", "000", "007", "01", "1", "1!", "11", "111",
    "1111", "12", "12!", "123", "123!", "123#", "123$", "123.", "123@", "1234", "1234!", "12345", "12345!", "123456",
    "1234567", "12345678", "123456789", "1234567890", "2", "21", "22", "222", "23", "234", "3", "321", "333", "4",
    "4321", "5", "54321", "555", "6", "654321", "666", "69", "7", "77", "777", "786", "8", "88", "888", "9", "99",
    "999", "@1", "@12", "@123", "@1234", "a", "abc", "x", "xyz", *map(str, range(1950, 2036)),
    *(f"@{year}" for year in range(2000, 2036)), *(f"{year}!" for year in range(2015, 2036)),
)  # fmt: skip


def obvious_passwords() -> Iterator[str]:
    """Yield each obvious password once, in the same order every time."""
    seen: set[str] = set()
    for password in _all():
        if len(password) >= SHORTEST and password not in seen:
            seen.add(password)
            yield password


def _all() -> Iterator[str]:
    for word in _WORDS:
        for written in (word, word.capitalize(), word.upper()):
            yield from (written + end for end in _ENDS)
        yield from (word + word, word * 3, word[::-1] + word, "my" + word, "the" + word, "i" + word)
    for first in _WORDS:
        yield from (first + second for second in _WORDS)
    yield from _walks()
    for character in "0123456789abcdefghijklmnopqrstuvwxyz.!*-_ ":
        yield from (character * length for length in range(SHORTEST, 33))
    for pair in (f"{first}{second}" for first in "0123456789abcxyz" for second in "0123456789abcxyz"):
        yield from (pair * times for times in range(4, 17))


def _walks() -> Iterator[str]:
    """Yield walks over the keyboard."""
    for row in (*_ROWS, "0123456789", "abcdefghijklmnopqrstuvwxyz"):
        for walked in (row, row[::-1], row + row, row + row[::-1]):
            for begin in range(len(walked)):
                for end in range(begin + 4, len(walked) + 1):
                    walk = walked[begin:end]
                    yield from (walk, walk.upper(), walk + "1", walk + "123", walk + "!", walk + walk, "1234" + walk)
    for first in _COLUMNS:
        for second in _COLUMNS:
            yield from (first + second, first + second[::-1], first + second + first, (first + second).upper())
            yield from (first + second + third for third in _COLUMNS)
