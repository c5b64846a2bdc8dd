"""Run the tests that depend on dates under shifted clocks, one clock after the other: ``make test-clocks``.

Each run has its own stack. Every process in it (PostgreSQL, Redis, PgBouncer, pytest) has the shifted wall clock;
monotonic clocks are not shifted. Runs whose clock crosses midnight or a clock change start shortly before it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

# In UTC. The tests' organizations are in India, where the day begins at 18:30 UTC.
CLOCKS = {
    "sunday-month-end": "2027-01-31 12:00:00",
    "monday-one-past-midnight": "2027-02-01 00:01:00",
    "february-28-into-march": "2027-02-28 23:57:00",
    "leap-day": "2028-02-29 12:00:00",
    "leap-day-into-march": "2028-02-29 23:57:00",
    "april-30": "2027-04-30 17:30:00",
    "new-year-in-india-first": "2027-12-31 18:27:00",
    "new-year": "2027-12-31 23:57:00",
    "clocks-forward-america": "2027-03-14 06:57:00",
    "clocks-forward-europe": "2027-03-28 00:57:00",
    "clocks-back-europe": "2027-10-31 00:57:00",
    "clocks-back-america": "2027-11-07 05:57:00",
}
# Whole folders if most of their tests depend on the date, else single files.
TESTS = (
    *("tests/clocks", "tests/students", "tests/attendance", "tests/workouts", "tests/reports", "tests/rollups"),
    *("tests/core/jobs", "tests/core/partitions", "tests/core/test_audit.py", "tests/core/test_future.py"),
    *("tests/core/test_clock_changes.py", "tests/core/test_warming.py", "tests/core/test_authorization.py"),
    *("tests/accounts", "tests/commands", "tests/e2e/test_tour.py", "tests/test_budgets.py"),
)


def compiled(folder: Path) -> Path:
    """Compile the library that shifts a program's clock; every account can read it."""
    folder.chmod(0o755)
    library = folder / "shift.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("make test-clocks needs a C compiler: sudo apt-get install gcc libc6-dev")
    source = str(HERE / "shift.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), source], check=True)
    return library


def run(name: str, library: Path, folder: Path, arguments: list[str]) -> int:
    """Run tests under a clock; return pytest's exit code."""
    at = datetime.fromisoformat(CLOCKS[name]).replace(tzinfo=UTC)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "CLOCK_SHIFT_S": str(int(at.timestamp() - time.time())),
        "CLOCK_STARTED": str(at.timestamp() - 2),
        "TEST_STACK_DIR": str(folder / "stack"),
    }
    command = [sys.executable, "-m", "pytest", "-m", "not large and not install", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run the tests under each clock, print a line for each, and return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="tests.clocks")
    parser.add_argument("--clock", choices=CLOCKS, action="append", help="only this one; may be repeated")
    parser.add_argument("--processes", default="2", help="how many run tests at once; 0: this one (2)")
    parser.add_argument("tests", nargs="*", default=TESTS)
    given = parser.parse_args()
    arguments = ["-n", given.processes, *given.tests]
    codes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="campshub-clocks-") as text:
        folder = Path(text)
        library = compiled(folder)
        for name in given.clock or CLOCKS:
            print(f"== {name}: {CLOCKS[name]} UTC", flush=True)
            codes[name] = run(name, library, folder, arguments)
    for name, code in codes.items():
        print(f"{name:<28}{CLOCKS[name]} UTC  {'passed' if code == 0 else f'failed ({code})'}")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())
