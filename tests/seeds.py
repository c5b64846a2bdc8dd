"""Two rows of every kind in an organization, for the tenancy matrix and the fuzzing, by the names of path parameters.

Each module adds its rows (tests/declared.py); a new path parameter fails the matrix until its module does.
"""

from dataclasses import dataclass
from typing import Any

from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client, Tenant, new_tenant
from tests.declared import each, merged

SPENDING = ("/undelete/", *merged("spending"))
REAL_BODIES, QUERIES, REFERENCES = merged("real_bodies"), merged("queries"), merged("references")


@dataclass
class Seeds:
    """The created rows: ids by the names of path parameters and body fields, and the word that each text contains."""

    tenant: Tenant
    word: str
    ids: dict[str, str]
    others: set[str]
    # The secret key of ``api_key_id``.
    key: str = ""

    @property
    def email(self) -> str:
        """The email address of the organization's admin."""
        found: str = self.tenant.the(Role.ADMIN).get("/api/me/").json["email"]
        return found

    @property
    def everything(self) -> set[str]:
        """All ids of the organization."""
        return {*self.ids.values(), *self.others, str(self.tenant.id)}

    def create_two(self, name: str, url: str, *bodies: dict[str, Any]) -> list[str]:
        """Create rows as admin, and return their ids; the path parameter gets the id of the first."""
        made = [self.tenant.the(Role.ADMIN).made(url, body)["id"] for body in bodies]
        self.ids[name] = made[0]
        self.others.update(made[1:])
        return made

    def tokens(self, who: Client | None = None) -> dict[str, Any]:
        """Return the tokens of a new sign-in session of a user, by default of the admin."""
        email = (who or self.tenant.the(Role.ADMIN)).get("/api/me/").json["email"]
        return Client(self.tenant.app).made("/api/auth/token/", {"email": email, "password": PASSWORD})

    def signed_in(self, who: Client) -> Client:
        """Return a client of a new sign-in session of a user."""
        return Client(self.tenant.app, {"Authorization": f"Bearer {self.tokens(who)['access_token']}"}, who.user_id)

    def real_body(self, operation: Any, who: Client) -> dict[str, Any] | None:
        """Return the body that an operation accepts where a generated one fails; None if it needs none."""
        made = REAL_BODIES.get(operation.name)
        return made(self, who) if made else None

    def real_query(self, operation: str) -> dict[str, str]:
        """Return the required parameters of an operation that depend on the rows."""
        made = QUERIES.get(operation)
        return made(self) if made else {}

    def id_for(self, name: str) -> str | None:
        """Return the id for a parameter or field of this name; for a login, a student who has none yet."""
        if name == "user_id":
            login = str(self.tenant.someone(Role.CLIENT).user_id)
            self.others.add(login)
            return login
        if name == "organization_id":
            return str(self.tenant.id)
        return self.ids.get(REFERENCES.get(name, name))


def spends(operation: Any) -> bool:
    """Return whether an operation uses up rows that other tests need."""
    return operation.method == "DELETE" or operation.rule.endswith(SPENDING)


def seed(app: Any, word: str) -> Seeds:
    """Fill an organization; each module adds its rows, in the order of the modules."""
    seeds = Seeds(new_tenant(app), word, {}, set())
    for role in Role:
        seeds.others.add(str(seeds.tenant.the(role).user_id))
    admin = seeds.tenant.the(Role.ADMIN)
    assert admin.patch("/api/organization/", {"name": f"Organization {word}"}).status == 200
    assert admin.patch("/api/me/", {"name": f"Admin {word}"}).status == 200
    seeds.ids |= {
        "organization_id": str(seeds.tenant.id),
        "user_id": str(seeds.tenant.the(Role.CLIENT).user_id),
        "trainer_id": str(seeds.tenant.the(Role.TRAINER).user_id),
    }
    for add in each("seed"):
        add(seeds)
    return seeds
