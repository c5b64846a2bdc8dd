"""The word list, run by ``make lint``: words of an old private dialect, which have no technical meaning.

They are refused as words and as parts of identifiers, in code, comments, documents and tests. Data, translations,
released migrations and the names in ``STABLE_NAMES`` may have them.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORDS = {
    "told": "returned, reported, logged",
    "owed": "pending, enqueued",
    "anew": "again",
    "whoever": "the caller, a client",
    "nobody": "no one, or the passive",
    "apart": "separately",
    "standing": "state, access level",
    "errand": "request",
}
SUFFIXES = {
    ".py",
    ".md",
    ".sh",
    ".lua",
    ".conf",
    ".typ",
    ".yaml",
    ".yml",
    ".ini",
    ".ts",
    ".js",
    ".mjs",
    ".css",
    ".toml",
    ".sql",
}
FILES = {"Makefile", "Dockerfile", "env.example", "run"}
# Names of the API, of the database or of metrics, and what other programs call so.
STABLE_NAMES = (
    "uq_alerts_standing",  # an index
    "campshub_apart_failures_total",  # what the changelog calls the former metric
    "`owed`",  # likewise, a former column of commands
    '"nobody"',  # the system's account
    "``nobody``",
)
# The scripts of the freshness protocol stay byte for byte what was proven.
SKIPPED = ("campshub/core/freshness/scripts/", "migrations/versions/", "tests/wordlist.py")

_WORD = re.compile(rf"(?<![a-z])({'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)
_STABLE = re.compile("|".join(map(re.escape, STABLE_NAMES)) or r"(?!)")


def found_in(text: str) -> list[tuple[int, str]]:
    """Return the lines (from 1) with a word of the list, and the word."""
    return [
        (number, match[0].lower())
        for number, line in enumerate(text.splitlines(), 1)
        for match in _WORD.finditer(_STABLE.sub("", line))
    ]


def project_files() -> list[str]:
    """Return the files that are checked, relative to the root."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [
        name
        for name in names
        if (Path(name).suffix in SUFFIXES or Path(name).name in FILES) and not name.startswith(SKIPPED)
    ]


def main() -> int:
    """Print each word that is found, with what to write instead; return 1 where there is one."""
    count = 0
    for name in project_files():
        path = ROOT / name
        if not path.exists():  # deleted, and not committed yet
            continue
        for line, word in found_in(path.read_text(encoding="utf-8")):
            print(f"{name}:{line}: {word}: write {WORDS[word]} instead")
            count += 1
    print(f"word list: {count} words to replace" if count else "word list: nothing to replace")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
