"""Link students to guardians: an entry of a list finds its guardian, or creates one.

An entry with ``guardian_id`` names the guardian. Another entry is, in this order: the student's guardian with that
name; the guardian of the organization with that name and the same phone number or e-mail address; a new one. Details in
an entry change the guardian that it names by id or by the student's link; a guardian who is found in the organization
only gets the details that they lack, so that no entry overwrites what staff have entered for a sibling.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select, tuple_

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.errors import Conflict, FieldError, Invalid, UnknownReference
from campshub.core.security.principal import Principal, visible_to
from campshub.students import names
from campshub.students.models import Guardian, Student, StudentGuardian
from campshub.students.queries.guardians import guardians_of_student
from campshub.students.service import guardians

Entries = Sequence[Mapping[str, Any]]
_KEYS = ("phone_key", "email_key")
_DETAILS = ("name", "phone", "email")
_FLAGS = ("is_primary", "may_pick_up", "receives_notifications")


class SeveralPrimary(Invalid):
    """Only one guardian of a student can be the primary one."""

    code = "several_primary"
    default_detail = "Only one guardian of a student can be the primary one."
    constraint = "uq_student_guardians_primary"
    pointer = "/guardians"


class GuardianNamedTwice(Invalid):
    """Two entries are the same guardian."""

    code = "guardian_named_twice"
    default_detail = "Two entries are the same guardian."
    constraint = "uq_student_guardians_student_id_guardian_id"
    pointer = "/guardians"


@dataclass
class GuardianEntry:
    """One entry of a student's list, with the guardian that it turns out to be."""

    student_id: UUID
    position: int
    given: Mapping[str, Any]
    guardian_id: UUID | None = None
    keys: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        name, phone, email = (self.given.get(detail) for detail in _DETAILS)
        self.keys = names.guardian_keys(name, phone, email) if name else {}

    @property
    def details(self) -> dict[str, Any]:
        """The details of the guardian that the entry contains."""
        return {name: self.given[name] for name in _DETAILS if name in self.given}

    @property
    def identities(self) -> list[tuple[str, Any, Any]]:
        """The pairs of name and contact by which the entry is the same person as another."""
        found = ((key, self.keys.get("sort_name"), self.keys.get(key)) for key in _KEYS)
        return [one for one in found if one[2] is not None]


def unknown_guardians(session: Session, principal: Principal, lists: Iterable[Entries]) -> set[UUID]:
    """Return the ids among the entries that are no guardians whom the principal sees; without ids it reads nothing."""
    named = {entry["guardian_id"] for entries in lists for entry in entries if "guardian_id" in entry}
    if not named:
        return set()
    seen = and_(visible_to(principal, Guardian), Guardian.deleted_at.is_(None))
    return named - set(session.scalars(select(Guardian.id).where(seen, Guardian.id.in_(named))))


def unknown_errors(entries: Entries, unknown: set[UUID]) -> list[FieldError]:
    """Return an error for each entry whose guardian is unknown."""
    return [
        FieldError(f"/guardians/{position}/guardian_id", UnknownReference.code, "No such guardian.")
        for position, entry in enumerate(entries)
        if entry.get("guardian_id") in unknown
    ]


def errors_of(entries: Entries, unknown: set[UUID]) -> list[FieldError]:
    """Return what is wrong with a list."""
    return [*list_errors(entries), *unknown_errors(entries, unknown)]


def list_errors(entries: Entries) -> list[FieldError]:
    """Return the errors of a list that do not depend on the database."""
    ids = [entry["guardian_id"] for entry in entries if "guardian_id" in entry]
    found: list[type[Invalid]] = []
    if sum(bool(entry.get("is_primary")) for entry in entries) > 1:
        found.append(SeveralPrimary)
    if len(ids) != len(set(ids)):
        found.append(GuardianNamedTwice)
    return [error for problem in found for error in problem().errors]


def link_new(session: Session, principal: Principal, lists: Mapping[UUID, Entries]) -> None:
    """Link new students to their guardians, with three statements for any number of students.

    The entries with ids have been checked (``unknown_guardians``).
    """
    entries = [
        GuardianEntry(student_id, position, given)
        for student_id, one in lists.items()
        for position, given in enumerate(one)
    ]
    _find(session, principal, entries, linked={})
    writes.insert(session, StudentGuardian, [row for rows in _by_student(entries) for row in _new_links(rows)])


def set_guardians(session: Session, principal: Principal, student: Student, entries: Entries) -> None:
    """Replace the guardians of a locked student; the student gets a new version if any link changes.

    :raises UnknownReference: the principal sees no such guardian.
    :raises SeveralPrimary: two entries are primary.
    :raises GuardianNamedTwice: two entries are the same guardian.
    :raises GuardianExists: a changed guardian would be the same person as another one.
    """
    require_valid(session, principal, entries)
    if set_many(session, principal, {student.id: entries}):
        student.updated_at = session.unit.now
        session.flush()


def set_many(session: Session, principal: Principal, lists: Mapping[UUID, Entries]) -> set[UUID]:
    """Replace the guardians of locked students; return the students of whom a link has changed.

    The lists have been checked (``errors_of``).
    """
    if not lists:
        return set()
    present: dict[UUID, dict[UUID, StudentGuardian]] = {student_id: {} for student_id in lists}
    for link in session.scalars(_links_of(principal, lists)):
        present[link.student_id][link.guardian_id] = link
    wanted = [
        GuardianEntry(one, position, given) for one, given_ in lists.items() for position, given in enumerate(given_)
    ]
    _find(session, principal, wanted, linked={student_id: set(links) for student_id, links in present.items()})
    by_student: dict[UUID, list[GuardianEntry]] = {student_id: [] for student_id in lists}
    for entry in wanted:
        by_student[entry.student_id].append(entry)
    new, changed = [], set()
    for student_id, entries in by_student.items():
        added, has_changed = _replace(session, present[student_id], _distinct(entries))
        new += added
        changed |= {student_id} if has_changed or added else set()
    session.flush()  # before the inserts: the former primary guardians give way
    writes.insert(session, StudentGuardian, new)
    return changed


def _replace(
    session: Session, present: dict[UUID, StudentGuardian], entries: Sequence[GuardianEntry]
) -> tuple[list[dict[str, Any]], bool]:
    """Change and delete the links of one student; return the rows to insert, and whether a link has changed."""
    removed = present.keys() - {entry.guardian_id for entry in entries}
    for guardian_id in removed:
        session.delete(present.pop(guardian_id))
    rows = _new_links(entries, present)
    changed = [row for row in rows if row["guardian_id"] in present and _differs(present[row["guardian_id"]], row)]
    _release_primary(session, present, rows)
    for row in changed:
        for name in ("position", "relation", *_FLAGS):
            setattr(present[row["guardian_id"]], name, row[name])
    return [row for row in rows if row["guardian_id"] not in present], bool(removed or changed)


def differing(session: Session, principal: Principal, lists: Mapping[UUID, Entries]) -> set[UUID]:
    """Return the students whose guardians are not already what the lists say; this reads only if there are lists."""
    if not lists:
        return set()
    own = and_(Student.organization_id == principal.organization_id, Student.id.in_(lists))
    rows = session.execute(select(Student.id, guardians_of_student(principal)).where(own))
    return {row.id for row in rows if not _is_same(lists[row.id], row.guardians)}


def _is_same(entries: Entries, shown: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether each entry is what the student shows at its position."""
    if len(entries) != len(shown):
        return False
    return all(
        (str(value) if isinstance(value, UUID) else value or None) == (present[name] or None)
        for entry, present in zip(entries, shown, strict=True)
        for name, value in entry.items()
    )


def require_valid(session: Session, principal: Principal, entries: Entries) -> None:
    """Check a list of guardians.

    :raises UnknownReference: the principal sees no such guardian.
    :raises SeveralPrimary: two entries are primary.
    :raises GuardianNamedTwice: two entries have the same id.
    """
    for error in list_errors(entries):
        raise SeveralPrimary if error.code == SeveralPrimary.code else GuardianNamedTwice
    errors = unknown_errors(entries, unknown_guardians(session, principal, [entries]))
    if errors:
        raise UnknownReference.of(errors)


def _links_of(principal: Principal, student_ids: Iterable[UUID]) -> Any:
    own = StudentGuardian.organization_id == principal.organization_id
    of_students = StudentGuardian.student_id.in_(list(student_ids))
    return select(StudentGuardian).where(own, of_students).order_by(StudentGuardian.id).with_for_update()


def _find(
    session: Session, principal: Principal, entries: list[GuardianEntry], *, linked: Mapping[UUID, set[UUID]]
) -> None:
    """Give each entry its guardian: read those that exist, change their details, and create the others."""
    if not entries:
        return
    guardians.require_whole(principal)
    ids = {entry.given["guardian_id"] for entry in entries if "guardian_id" in entry.given}
    ids |= {guardian_id for of_student in linked.values() for guardian_id in of_student}
    _match(entries, _Known(_read(session, principal, ids, entries)), linked)
    session.flush()
    missing = [entry for entry in entries if entry.guardian_id is None]
    if missing and _create(session, missing) and any(entry.guardian_id is None for entry in missing):
        # Another request has created the same person at the same moment.
        _match(missing, _Known(_read(session, principal, set(), missing)), {})
    if any(entry.guardian_id is None for entry in entries):
        raise Conflict("A guardian was changed by another request at the same moment; send it again.")


class _Known:
    """Existing guardians by id and by what makes them one person."""

    def __init__(self, found: Sequence[Guardian]) -> None:
        self.by_id = {guardian.id: guardian for guardian in found}
        self.by_identity: dict[tuple[str, Any, Any], Guardian] = {}
        for guardian in found:
            for key in _KEYS:
                if getattr(guardian, key) is not None:
                    self.by_identity.setdefault((key, guardian.sort_name, getattr(guardian, key)), guardian)


def _read(
    session: Session, principal: Principal, ids: set[UUID], entries: Sequence[GuardianEntry]
) -> Sequence[Guardian]:
    """Read and lock the guardians with an id, or with the name and a contact of an entry, in the order of their ids."""
    wanted: dict[str, set[tuple[Any, Any]]] = {key: set() for key in _KEYS}
    for entry in entries:
        for key, name, contact in entry.identities:
            wanted[key].add((name, contact))
    same = [
        tuple_(Guardian.sort_name, getattr(Guardian, key)).in_(sorted(pairs)) for key, pairs in wanted.items() if pairs
    ]
    if ids:
        same.append(Guardian.id.in_(ids))
    if not same:
        return []
    own = and_(Guardian.organization_id == principal.organization_id, Guardian.deleted_at.is_(None))
    return session.scalars(select(Guardian).where(own, or_(*same)).order_by(Guardian.id).with_for_update()).all()


def _match(entries: Sequence[GuardianEntry], known: _Known, linked: Mapping[UUID, set[UUID]]) -> None:
    """Find the guardians of entries, and change or complete their details."""
    used: set[tuple[UUID, UUID]] = set()

    def take(entry: GuardianEntry, found: Guardian | None, details: Mapping[str, Any]) -> None:
        if found is not None:
            entry.guardian_id = found.id
            used.add((entry.student_id, found.id))
            changed = {name: value for name, value in details.items() if getattr(found, name) != (value or None)}
            if changed:
                guardians.apply(found, **changed)

    # Of two guardians of a student with one name, each entry gets the one with its contact.
    for entry in entries:
        if entry.guardian_id is None:
            take(entry, _named(entry, known, linked.get(entry.student_id, set())), entry.details)
    for entry in entries:
        if entry.guardian_id is None:
            ids = (one for one in sorted(linked.get(entry.student_id, ())) if (entry.student_id, one) not in used)
            same = (known.by_id[one] for one in ids if one in known.by_id)
            take(
                entry, next((one for one in same if one.sort_name == entry.keys.get("sort_name")), None), entry.details
            )
    for entry in entries:
        if entry.guardian_id is None:
            found = next((known.by_identity[key] for key in entry.identities if key in known.by_identity), None)
            take(entry, found, _missing_details(known, found, entry) if found else {})


def _named(entry: GuardianEntry, known: _Known, linked: set[UUID]) -> Guardian | None:
    """Return the guardian with the entry's id, or the student's guardian with its name and a contact."""
    if "guardian_id" in entry.given:
        return known.by_id.get(entry.given["guardian_id"])
    found = (known.by_identity.get(key) for key in entry.identities)
    return next((one for one in found if one is not None and one.id in linked), None)


def _missing_details(known: _Known, found: Guardian, entry: GuardianEntry) -> dict[str, Any]:
    """Return the details of an entry that a guardian lacks, without contacts by which another one is known."""
    details = {name: value for name, value in entry.details.items() if value and getattr(found, name) is None}
    return {name: value for name, value in details.items() if _is_free(known, found, name, entry)}


def _is_free(known: _Known, found: Guardian, detail: str, entry: GuardianEntry) -> bool:
    """Return whether no other guardian is known by a contact, which ``found`` could get."""
    holder = known.by_identity.get((f"{detail}_key", entry.keys["sort_name"], entry.keys[f"{detail}_key"]))
    return holder is None or holder is found


def _create(session: Session, missing: list[GuardianEntry]) -> bool:
    """Create the guardians of entries, one for all entries that are one person; entries without a contact differ.

    Return whether some were created by another request meanwhile: their entries have no guardian yet.
    """
    rows: dict[UUID, dict[str, Any]] = {}
    by_identity: dict[tuple[str, Any, Any], UUID] = {}
    of: list[tuple[GuardianEntry, UUID]] = []
    for entry in missing:
        found = next((by_identity[key] for key in entry.identities if key in by_identity), None)
        if found is None:
            found = new_id()
            name, phone, email = entry.given["name"], entry.given.get("phone"), entry.given.get("email")
            rows[found] = {"id": found, **guardians.new_row(name=name, phone=phone, email=email)}
        for identity in entry.identities:
            key, _, contact = identity
            if rows[found][key] is None and identity not in by_identity:
                detail = key.removesuffix("_key")
                rows[found][detail], rows[found][key] = entry.given[detail], contact
            if rows[found][key] == contact:
                by_identity.setdefault(identity, found)
        of.append((entry, found))
    # In the order of the unique keys, so that concurrent calls with the same people cannot deadlock.
    ordered = sorted(rows.values(), key=lambda row: (row["sort_name"], row["phone_key"] or "", row["email_key"] or ""))
    made = {row.id for row in writes.insert(session, Guardian, ordered, on_conflict="DO NOTHING")}
    for entry, guardian_id in of:
        entry.guardian_id = guardian_id if guardian_id in made else None
    return len(made) < len(rows)


def _by_student(entries: Sequence[GuardianEntry]) -> Iterable[list[GuardianEntry]]:
    """Group entries by student; of several that are one person, the first counts."""
    lists: dict[UUID, list[GuardianEntry]] = {}
    for entry in entries:
        lists.setdefault(entry.student_id, []).append(entry)
    return [_distinct(one) for one in lists.values()]


def _distinct(entries: Sequence[GuardianEntry]) -> list[GuardianEntry]:
    return list({entry.guardian_id: entry for entry in reversed(entries)}.values())[::-1]


def _new_links(
    entries: Sequence[GuardianEntry], present: Mapping[UUID, StudentGuardian] | None = None
) -> list[dict[str, Any]]:
    """Return the links of one student as rows; what an entry leaves out stays as it is in a present link."""
    is_named = any(entry.given.get("is_primary") for entry in entries)
    rows = []
    for position, entry in enumerate(entries):
        link = (present or {}).get(entry.guardian_id)  # type: ignore[arg-type] # an entry has found its guardian
        given = {name: entry.given[name] for name in ("relation", *_FLAGS) if name in entry.given}
        kept = {"relation": link.relation, **{name: getattr(link, name) for name in _FLAGS}} if link else {}
        row: dict[str, Any] = {
            "relation": None,
            "may_pick_up": False,
            "receives_notifications": True,
            "is_primary": False,
        }
        row |= {**kept, **given}
        row["relation"] = row["relation"] or None
        if is_named:
            row["is_primary"] = bool(given.get("is_primary"))
        rows.append({"student_id": entry.student_id, "guardian_id": entry.guardian_id, "position": position, **row})
    if rows and not any(row["is_primary"] for row in rows):
        rows[0]["is_primary"] = True
    return rows


def _differs(link: StudentGuardian, row: Mapping[str, Any]) -> bool:
    return any(getattr(link, name) != row[name] for name in ("position", "relation", *_FLAGS))


def _release_primary(
    session: Session, present: Mapping[UUID, StudentGuardian], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Unset the former primary guardian before another one becomes primary: the index allows one at a time."""
    primary = {row["guardian_id"] for row in rows if row["is_primary"]}
    for guardian_id, link in present.items():
        if link.is_primary and guardian_id not in primary:
            link.is_primary = False
    session.flush()
