"""The people of the demo: students, their groups, and users who can sign in."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from campshub.accounts.service import organizations as accounts
from campshub.core.db.bulk import copy_rows
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.security.permissions import Role
from campshub.students import names
from campshub.students.models import Enrolment, Group, GroupTrainer, Guardian, Student, StudentGuardian

GROUP_SIZE = 30
TRAINERS = 4
CLIENTS = 3
SIBLINGS = 0.125  # the share of students who have the parent of the student before


@dataclass(frozen=True)
class OrganizationKind:
    """A kind of demo organization."""

    name: str
    domain: str
    time_zone: str
    currency: str
    group_kind: str
    group_names: tuple[str, ...]
    trains: float  # the share of its students who log workouts

    def numbered(self, number: int) -> "OrganizationKind":
        """Return this kind with a number in its name and domain."""
        return replace(self, name=f"{self.name} {number}", domain=f"{number}.{self.domain}")


SCHOOL = OrganizationKind(
    "Hill Camp School",
    "hillcamp.example",
    "Asia/Kolkata",
    "INR",
    "class",
    tuple(f"Class {year}{letter}" for year in range(6, 13) for letter in "ABC"),
    0.25,
)
GYM = OrganizationKind(
    "Riverside Strength",
    "riverside.example",
    "Europe/Berlin",
    "EUR",
    "course",
    ("Barbell Basics", "Early Birds", "Lunch Lift", "Powerlifting", "Mobility", "Evening Strength", "Weekend Crew"),
    0.6,
)
KINDS = (SCHOOL, GYM)


@dataclass
class Person:
    """A student, with traits that shape their data: reliability and strength."""

    id: uuid.UUID
    group: int
    reliability: float
    strength: float
    trains: bool


@dataclass
class DemoOrganization:
    """A demo organization while it is created."""

    id: uuid.UUID
    kind: OrganizationKind
    today: date
    days: int
    rng: random.Random
    staff: dict[str, uuid.UUID] = field(default_factory=dict)
    groups: list[uuid.UUID] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    # The guardians' rows, and their links to students.
    guardians: list[dict[str, Any]] = field(default_factory=list)
    guardian_links: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)

    @property
    def first_day(self) -> date:
        """The first day of its history."""
        return self.today - timedelta(days=self.days)


def make_staff(session: Session, organization: DemoOrganization, *, password_hash: str, now: datetime) -> None:
    """Create an admin, trainers, a nutritionist and logins of a few students."""
    roles = [("admin", Role.ADMIN), ("nutritionist", Role.NUTRITIONIST)]
    roles += [(f"trainer{number}", Role.TRAINER) for number in range(1, TRAINERS + 1)]
    roles += [(f"student{number}", Role.CLIENT) for number in range(1, CLIENTS + 1)]
    for login, role in roles:
        user = accounts.create_user(
            session,
            organization_id=organization.id,
            email=f"{login}@{organization.kind.domain}",
            name=f"{organization.rng.choice(GIVEN)} {organization.rng.choice(FAMILY)}",
            role=role,
            password_hash=password_hash,
            now=now,
        )
        organization.staff[login] = user.id


def make_groups(session: Session, organization: DemoOrganization, count: int) -> None:
    """Create the groups, each with a trainer."""
    kinds = organization.kind.group_names
    for number in range(count):
        name = kinds[number % len(kinds)] + (f" {number // len(kinds) + 1}" if number >= len(kinds) else "")
        group_id, code = new_id(), f"G{number + 1:03}"
        organization.groups.append(group_id)
        session.add(
            Group(
                id=group_id,
                code=code,
                name=name,
                **names.group_keys(code, name),
                kind=organization.kind.group_kind,
                capacity=GROUP_SIZE + organization.rng.randint(0, 10),
                begins_on=organization.first_day - timedelta(days=30),
            )
        )
    session.flush()
    for number, group_id in enumerate(organization.groups):
        trainer = organization.staff[f"trainer{number % TRAINERS + 1}"]
        session.add(GroupTrainer(group_id=group_id, user_id=trainer))
    session.flush()


def make_students(session: Session, organization: DemoOrganization, count: int) -> None:
    """Create the students, and enrol each in a group."""
    for number in range(count):
        organization.people.append(
            Person(
                id=new_id(),
                group=number // GROUP_SIZE % len(organization.groups),
                reliability=min(0.99, max(0.45, organization.rng.gauss(0.93, 0.08))),
                strength=max(0.4, organization.rng.gauss(1.0, 0.25)),
                trains=organization.rng.random() < organization.kind.trains,
            )
        )
    rows = list(_student_rows(organization))
    copy_rows(session, Student, tuple(rows[0]), (row.values() for row in rows))  # type: ignore[misc] # dicts are ordered
    _make_guardians(session, organization)
    begins_on = organization.first_day - timedelta(days=30)
    copy_rows(
        session,
        Enrolment,
        ("organization_id", "id", "student_id", "group_id", "begins_on", "status"),
        (
            (organization.id, new_id(), p.id, organization.groups[p.group], begins_on, "active")
            for p in organization.people
        ),
    )


def _student_rows(organization: DemoOrganization) -> Iterator[dict[str, Any]]:
    rng = organization.rng
    logins = [user_id for login, user_id in organization.staff.items() if login.startswith("student")]
    for number, person in enumerate(organization.people):
        given, family, code = rng.choice(GIVEN), rng.choice(FAMILY), f"S-{number + 1:05}"
        preferred = given[:3] if rng.random() < 0.1 else None  # noqa: PLR2004 - a tenth have a short name
        guardian = _parent_of_student(organization, person.id, family)
        yield {
            "organization_id": organization.id,
            "id": person.id,
            "code": code,
            "user_id": logins[number] if number < len(logins) else None,
            "given_name": given,
            "family_name": family,
            "preferred_name": preferred,
            "sort_name": names.sort_name(given, family),
            "search_text": names.search_text(code, given, family, preferred),
            "date_of_birth": organization.today - timedelta(days=rng.randint(11 * 365, 18 * 365)),
            "email": f"{code.lower()}@students.{organization.kind.domain}",
            "phone": _phone(rng),
            "emergency_contacts": [{"name": guardian["name"], "relation": "parent", "phone": guardian["phone"]}],
            "tags": rng.sample(TAGS, rng.choice((0, 0, 0, 1, 1, 2))),
            "status": rng.choices(("active", "inactive", "lead"), (94, 4, 2))[0],
            "joined_on": organization.first_day - timedelta(days=rng.randint(30, 700)),
        }


def _parent_of_student(organization: DemoOrganization, student_id: uuid.UUID, family: str) -> dict[str, Any]:
    """Return the parent of a student: a new one, or for one in eight that of the student before, as a sibling."""
    rng = organization.rng
    if not organization.guardians or rng.random() > SIBLINGS:
        name, phone = f"{rng.choice(GIVEN)} {family}", _phone(rng)
        row = {"organization_id": organization.id, "id": new_id(), "name": name, "phone": phone}
        organization.guardians.append({**row, **names.guardian_keys(name, phone, None)})
    parent = organization.guardians[-1]
    organization.guardian_links.append((student_id, parent["id"]))
    return parent


def _make_guardians(session: Session, organization: DemoOrganization) -> None:
    rows = organization.guardians
    copy_rows(session, Guardian, tuple(rows[0]), (row.values() for row in rows))  # type: ignore[misc] # dicts are ordered
    copy_rows(
        session,
        StudentGuardian,
        (
            *("organization_id", "id", "student_id", "guardian_id", "position", "relation"),
            *("is_primary", "may_pick_up", "receives_notifications"),
        ),
        (
            (organization.id, new_id(), student_id, guardian_id, 0, "parent", True, True, True)
            for student_id, guardian_id in organization.guardian_links
        ),
    )


def _phone(rng: random.Random) -> str:
    return f"+00 555 {rng.randint(1_000_000, 9_999_999)}"


GIVEN = (
    "Aarav", "Aditi", "Akira", "Amara", "Amir", "Ananya", "Anna", "Arjun", "Asha", "Ayumi", "Björn", "Carlos",
    "Chidi", "Chloé", "Diya", "Elif", "Emeka", "Emma", "Esra", "Farah", "Fatima", "Femi", "Gita", "Hana", "Hassan",
    "Ines", "Ishaan", "Jamal", "Jonas", "José", "Kabir", "Kavya", "Kofi", "Kwame", "Lara", "Leila", "Lena", "Liam",
    "Linh", "Lucía", "Luka", "Maja", "Mateo", "Mei", "Meera", "Mina", "Nadia", "Naoki", "Neha", "Nia", "Noah",
    "Nour", "Olga", "Omar", "Oskar", "Pavel", "Pooja", "Priya", "Rahul", "Ravi", "Rosa", "Sakura", "Samira", "Sana",
    "Sofía", "Søren", "Tariq", "Tomás", "Uma", "Vera", "Vikram", "Wei", "Yara", "Yusuf", "Zainab", "Zoë",
)  # fmt: skip

FAMILY = (
    "Adeyemi", "Ahmed", "Andersson", "Bakker", "Banerjee", "Becker", "Bello", "Bose", "Castro", "Chen", "Chowdhury",
    "Costa", "Das", "Desai", "Dubois", "Eze", "Fernández", "Fischer", "García", "Ghosh", "Gupta", "Haddad", "Hansen",
    "Hoffmann", "Hossain", "Ivanova", "Iyer", "Jansen", "Joshi", "Kamau", "Kapoor", "Kaya", "Khan", "Kim", "Kimura",
    "Kowalski", "Kumar", "Lindqvist", "López", "Mehta", "Mensah", "Moreau", "Müller", "Mwangi", "Nair", "Nakamura",
    "Nguyen", "Novák", "Okafor", "Oliveira", "Patel", "Pereira", "Petrov", "Pillai", "Rahman", "Rao", "Reddy",
    "Rossi", "Saito", "Schmidt", "Sharma", "Silva", "Singh", "Sørensen", "Suzuki", "Tanaka", "Torres", "Tran",
    "Verma", "Wagner", "Wang", "Yıldız", "Zhang",
)  # fmt: skip

TAGS = ("boarder", "scholarship", "bus 4", "vegetarian", "swim team", "choir", "captain", "new")
