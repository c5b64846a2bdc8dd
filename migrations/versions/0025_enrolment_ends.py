"""Who has left a group has a last day in it; what was withdrawn before it began may end before it begins.

Revision ID: 0025
Revises: 0024
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

OVERLAP = """
ALTER TABLE enrolments ADD CONSTRAINT ex_enrolments_overlap EXCLUDE USING gist (
  organization_id WITH =, student_id WITH =, group_id WITH =, ({days}) WITH &&)
 WHERE (status IN ('active', 'completed'))
"""
DAYS = "daterange(begins_on, CASE WHEN status = 'completed' THEN ends_on ELSE ends_on + 1 END)"
# They left on the day of their last change, as far as anyone can say; a completed one had a day at least.
ENDS = """
UPDATE enrolments e
   SET ends_on = CASE WHEN e.status = 'completed' THEN greatest(e.begins_on, d.changed_on) ELSE d.changed_on END,
       version = e.version + 1
  FROM (SELECT c.organization_id, c.id, (c.updated_at AT TIME ZONE o.time_zone)::date AS changed_on
          FROM enrolments c JOIN organizations o ON o.id = c.organization_id
         WHERE c.status IN ('withdrawn', 'completed') AND c.ends_on IS NULL) d
 WHERE e.organization_id = d.organization_id AND e.id = d.id
"""
# Cached answers of before are not served: Redis learns nothing of a migration's writes.
NEW_EPOCH = "INSERT INTO unstamped_writes DEFAULT VALUES"
# What the constraints of before would refuse: an end before the beginning, a day shared with the next enrolment.
SHARED = """
status = 'completed' AND EXISTS (
  SELECT FROM enrolments o
   WHERE o.organization_id = e.organization_id AND o.student_id = e.student_id AND o.group_id = e.group_id
     AND o.id <> e.id AND o.status IN ('active', 'completed') AND o.begins_on <= e.ends_on
     AND (o.ends_on IS NULL OR o.ends_on >= e.ends_on))
"""
BACK = (
    "UPDATE enrolments SET ends_on = begins_on WHERE ends_on < begins_on",
    f"UPDATE enrolments e SET ends_on = ends_on - 1 WHERE ends_on > begins_on AND {SHARED}",
    f"UPDATE enrolments e SET status = 'withdrawn' WHERE {SHARED}",
)


def upgrade() -> None:
    op.execute("ALTER TABLE enrolments DROP CONSTRAINT ex_enrolments_overlap")
    op.execute("ALTER TABLE enrolments DROP CONSTRAINT ck_enrolments_ends_after_begin")
    _as_backfill(ENDS, NEW_EPOCH)
    op.create_check_constraint(
        op.f("ck_enrolments_ends_after_begin"),
        "enrolments",
        "ends_on IS NULL OR ends_on >= begins_on OR status = 'withdrawn'",
    )
    op.create_check_constraint(
        op.f("ck_enrolments_left_with_end"),
        "enrolments",
        "ends_on IS NOT NULL OR status NOT IN ('withdrawn', 'completed')",
    )
    op.execute(OVERLAP.format(days=DAYS))


def downgrade() -> None:
    op.execute("ALTER TABLE enrolments DROP CONSTRAINT ex_enrolments_overlap")
    op.execute("ALTER TABLE enrolments DROP CONSTRAINT ck_enrolments_left_with_end")
    op.execute("ALTER TABLE enrolments DROP CONSTRAINT ck_enrolments_ends_after_begin")
    _as_backfill(*BACK, NEW_EPOCH)
    op.create_check_constraint(
        op.f("ck_enrolments_ends_after_begin"), "enrolments", "ends_on IS NULL OR ends_on >= begins_on"
    )
    op.execute(OVERLAP.format(days="daterange(begins_on, ends_on, '[]')"))


def _as_backfill(*statements: str) -> None:
    """Change rows of all organizations: policies bind the owner."""
    op.execute("SET ROLE campshub_backfill")
    for statement in statements:
        op.execute(statement)
    op.execute("SET ROLE campshub_owner")
