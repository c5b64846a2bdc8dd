"""All permissions, and the permissions of each role."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Permission(StrEnum):
    """The permissions of principals, as ``resource:action``, in alphabetical order."""

    ATTENDANCE_CHECK_IN = "attendance:check_in"
    ATTENDANCE_HISTORY = "attendance:history"
    ATTENDANCE_MARK = "attendance:mark"
    ATTENDANCE_READ = "attendance:read"
    ATTENDANCE_WRITE = "attendance:write"
    AUDIT_READ = "audit:read"
    EXERCISES_READ = "exercises:read"
    EXERCISES_WRITE = "exercises:write"
    GROUPS_READ = "groups:read"
    GROUPS_WRITE = "groups:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    LEAVE_DECIDE = "leave:decide"
    LEAVE_READ = "leave:read"
    LEAVE_WRITE = "leave:write"
    MEDICAL_READ = "medical:read"
    MEDICAL_WRITE = "medical:write"
    ME_READ = "me:read"
    ME_WRITE = "me:write"
    ORGANIZATIONS_WRITE = "organizations:write"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    REPORTS_READ = "reports:read"
    REPORTS_WRITE = "reports:write"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    STUDENTS_READ = "students:read"
    STUDENTS_WRITE = "students:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    WORKOUTS_READ = "workouts:read"
    WORKOUTS_WRITE = "workouts:write"


class Role(StrEnum):
    """The six built-in roles; a membership has one of them, or a custom role of the organization."""

    SUPERADMIN = "superadmin"
    ADMIN = "admin"
    TRAINER = "trainer"
    NUTRITIONIST = "nutritionist"
    CLIENT = "client"
    GUARDIAN = "guardian"


# The role name of a membership with a custom role of the organization.
CUSTOM = "custom"
ROLE_NAMES = (*(role.value for role in Role), CUSTOM)


class Scope(StrEnum):
    """Whose rows a role may see: all of the organization, those of its own groups, or its own."""

    ALL = "all"
    GROUPS = "groups"
    OWN = "own"


# The permissions for a person's own account (name, password, sessions, second factor): every person has them, no key.
PERSONAL = frozenset({Permission.ME_READ, Permission.ME_WRITE})
# The permissions that a custom role may have, those that an API key may have (it cannot create keys), and those of a
# device's key.
OF_CUSTOM_ROLES = frozenset(Permission) - {Permission.ORGANIZATIONS_WRITE}
OF_KEYS = OF_CUSTOM_ROLES - PERSONAL - {Permission.KEYS_WRITE}
OF_DEVICES = frozenset({Permission.ATTENDANCE_CHECK_IN, Permission.ATTENDANCE_MARK})

_EVERYONE = PERSONAL | {
    Permission.EXERCISES_READ,
    Permission.JOBS_READ,
    Permission.JOBS_WRITE,
    Permission.ORGANIZATION_READ,
}

ROLES: dict[Role, frozenset[Permission]] = {
    Role.SUPERADMIN: frozenset(Permission),
    Role.ADMIN: frozenset(Permission) - {Permission.ORGANIZATIONS_WRITE},
    Role.TRAINER: _EVERYONE
    | {
        Permission.ATTENDANCE_CHECK_IN,
        Permission.ATTENDANCE_HISTORY,
        Permission.ATTENDANCE_MARK,
        Permission.ATTENDANCE_READ,
        Permission.EXERCISES_WRITE,
        Permission.GROUPS_READ,
        Permission.LEAVE_DECIDE,
        Permission.LEAVE_READ,
        Permission.LEAVE_WRITE,
        Permission.REPORTS_READ,
        Permission.REPORTS_WRITE,
        Permission.STUDENTS_READ,
        Permission.USERS_READ,
        Permission.WORKOUTS_READ,
        Permission.WORKOUTS_WRITE,
    },
    Role.NUTRITIONIST: _EVERYONE
    | {
        Permission.GROUPS_READ,
        Permission.REPORTS_READ,
        Permission.REPORTS_WRITE,
        Permission.STUDENTS_READ,
        Permission.USERS_READ,
        Permission.WORKOUTS_READ,
    },
    Role.CLIENT: _EVERYONE
    | {
        Permission.ATTENDANCE_CHECK_IN,
        Permission.ATTENDANCE_READ,
        Permission.GROUPS_READ,
        Permission.LEAVE_READ,
        Permission.LEAVE_WRITE,
        Permission.STUDENTS_READ,
        Permission.WORKOUTS_READ,
        Permission.WORKOUTS_WRITE,
    },
    # Which rows these are follows from the links to students; training data only if the organization allows it.
    Role.GUARDIAN: _EVERYONE
    | {
        Permission.ATTENDANCE_READ,
        Permission.GROUPS_READ,
        Permission.LEAVE_READ,
        Permission.LEAVE_WRITE,
        Permission.STUDENTS_READ,
        Permission.WORKOUTS_READ,
    },
}

SCOPES: dict[Role, Scope] = {
    Role.SUPERADMIN: Scope.ALL,
    Role.ADMIN: Scope.ALL,
    Role.TRAINER: Scope.GROUPS,
    Role.NUTRITIONIST: Scope.ALL,
    Role.CLIENT: Scope.OWN,
    Role.GUARDIAN: Scope.OWN,
}


@dataclass(frozen=True)
class Grant:
    """A set of permissions, and a scope."""

    permissions: frozenset[Permission]
    scope: Scope

    def covers(self, other: "Grant") -> bool:
        """Return whether a holder of this grant may assign the other: it has no more permissions, and no wider scope.

        The permissions of ``PERSONAL`` are ignored, because every person has them.
        """
        return (
            other.permissions - PERSONAL <= self.permissions and _SCOPE_WIDTHS[other.scope] <= _SCOPE_WIDTHS[self.scope]
        )

    def within(self, other: "Grant") -> "Grant":
        """Return the intersection of this grant and the other."""
        return Grant(self.permissions & other.permissions, min(self.scope, other.scope, key=_SCOPE_WIDTHS.__getitem__))


_SCOPE_WIDTHS = {Scope.OWN: 0, Scope.GROUPS: 1, Scope.ALL: 2}
GRANTS = {role.value: Grant(ROLES[role], SCOPES[role]) for role in Role}


def grant_of(permissions: Iterable[str], scope: str) -> Grant:
    """Return the grant of a custom role or a key from its names in the database; unknown permissions are ignored.

    An unknown scope becomes ``Scope.OWN``.
    """
    return _grant_of(tuple(permissions), scope)


@lru_cache(maxsize=4096)
def _grant_of(permissions: tuple[str, ...], scope: str) -> Grant:
    known = frozenset(Permission(name) for name in permissions if name in _NAMES)
    return Grant(known, Scope(scope) if scope in set(Scope) else Scope.OWN)


_NAMES = frozenset(permission.value for permission in Permission)
