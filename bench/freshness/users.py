"""Create the organizations of a run, each with a user of every role that reads; print them as JSON for the checker.

A separate process (``python -m bench.freshness.users COUNT``): the checker itself uses only the API.
"""

import json
import sys
from datetime import UTC, datetime

from campshub.accounts.service import organizations as accounts
from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.passwords import hash_password
from campshub.core.security.permissions import Role

PASSWORD = "correct horse battery"  # noqa: S105 - it opens a database that is made for the run
ROLES = (Role.ADMIN, Role.NUTRITIONIST, Role.TRAINER)
COST = 4


def main(count: int) -> None:
    app = create_app()
    hashed = hash_password(PASSWORD, cost=COST)
    made = []
    with app.app_context():
        for number in range(count):
            organization_id = new_id()
            emails = {role: f"{role}-{organization_id.hex}@example.org" for role in ROLES}
            with unit_of_work(system=True, organization_id=organization_id) as session:
                accounts.create_organization(
                    session, organization_id=organization_id, name=f"Checked {number}", time_zone="UTC", currency="EUR"
                )
                for role, email in emails.items():
                    accounts.create_user(
                        session,
                        organization_id=organization_id,
                        email=email,
                        name="n1",
                        role=role,
                        password_hash=hashed,
                        now=datetime.now(UTC),
                    )
            made.append({"organization_id": str(organization_id), "emails": emails})
    print(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]))
