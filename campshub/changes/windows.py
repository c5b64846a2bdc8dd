"""Which transactions a copy contains: a snapshot of the database, reduced to the feeds of an organization.

All committed transactions up to ``latest`` are in the copy, except those that were ``running``. ``latest`` is the
number of a transaction that is committed: PostgreSQL may assign numbers again after a crash, but only higher ones than
that of any transaction whose commit has been flushed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The transactions whose changes a copy contains."""

    oldest: int  # all committed transactions with lower numbers are in the copy
    latest: int
    running: tuple[int, ...]

    @classmethod
    def of(cls, snapshot: str, latest: int) -> "Window":
        """Return the window of a snapshot (``pg_current_snapshot``) and the last change set that is visible in it."""
        oldest, _, running = snapshot.split(":")
        numbers = sorted(int(number) for number in running.split(",") if number)
        return cls(min(int(oldest), latest + 1), latest, tuple(n for n in numbers if n <= latest))

    def packed(self) -> list[int]:
        """Return the window as numbers, for a token."""
        return [self.oldest, self.latest, *self.running]

    @classmethod
    def unpacked(cls, numbers: list[int]) -> "Window":
        """Return the window of a token."""
        oldest, latest, *running = numbers
        return cls(oldest, latest, tuple(running))
