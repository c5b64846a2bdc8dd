"""The one page of permissions, and which role has which."""

from enum import StrEnum


class Permission(StrEnum):
    """What a principal may do, as ``resource:action``, in alphabetical order."""

    ATTENDANCE_MARK = "attendance:mark"
    ATTENDANCE_READ = "attendance:read"
    ATTENDANCE_WRITE = "attendance:write"
    AUDIT_READ = "audit:read"
    EXERCISES_READ = "exercises:read"
    EXERCISES_WRITE = "exercises:write"
    GROUPS_READ = "groups:read"
    GROUPS_WRITE = "groups:write"
    MEDICAL_READ = "medical:read"
    MEDICAL_WRITE = "medical:write"
    ME_READ = "me:read"
    ME_WRITE = "me:write"
    ORGANIZATIONS_WRITE = "organizations:write"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    STUDENTS_READ = "students:read"
    STUDENTS_WRITE = "students:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    WORKOUTS_READ = "workouts:read"
    WORKOUTS_WRITE = "workouts:write"


class Role(StrEnum):
    """The five built-in roles; a membership carries one."""

    SUPERADMIN = "superadmin"
    ADMIN = "admin"
    TRAINER = "trainer"
    NUTRITIONIST = "nutritionist"
    CLIENT = "client"


class Scope(StrEnum):
    """How far a role sees: the whole organization, its own groups, or itself."""

    ALL = "all"
    GROUPS = "groups"
    OWN = "own"


_EVERYONE = frozenset(
    {Permission.EXERCISES_READ, Permission.ME_READ, Permission.ME_WRITE, Permission.ORGANIZATION_READ}
)

ROLES: dict[Role, frozenset[Permission]] = {
    Role.SUPERADMIN: frozenset(Permission),
    Role.ADMIN: frozenset(Permission) - {Permission.ORGANIZATIONS_WRITE},
    Role.TRAINER: _EVERYONE
    | {
        Permission.ATTENDANCE_MARK,
        Permission.ATTENDANCE_READ,
        Permission.EXERCISES_WRITE,
        Permission.GROUPS_READ,
        Permission.STUDENTS_READ,
        Permission.USERS_READ,
        Permission.WORKOUTS_READ,
        Permission.WORKOUTS_WRITE,
    },
    Role.NUTRITIONIST: _EVERYONE
    | {Permission.GROUPS_READ, Permission.STUDENTS_READ, Permission.USERS_READ, Permission.WORKOUTS_READ},
    Role.CLIENT: _EVERYONE
    | {
        Permission.ATTENDANCE_READ,
        Permission.GROUPS_READ,
        Permission.STUDENTS_READ,
        Permission.WORKOUTS_READ,
        Permission.WORKOUTS_WRITE,
    },
}

SCOPES: dict[Role, Scope] = {
    Role.SUPERADMIN: Scope.ALL,
    Role.ADMIN: Scope.ALL,
    Role.TRAINER: Scope.GROUPS,
    Role.NUTRITIONIST: Scope.ALL,
    Role.CLIENT: Scope.OWN,
}
