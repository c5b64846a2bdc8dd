"""Organizations' own roles, which memberships and invitations carry in place of a built-in one.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BUILT_IN = "'superadmin', 'admin', 'trainer', 'nutritionist', 'client'"
# Beside what it told before: what the caller's own role allows.
ENTER = """
CREATE FUNCTION enter(organization uuid, person uuid, needed pg_lsn, idempotency_key uuid,
  OUT role text, OUT session_version int, OUT time_zone text, OUT organization_status text,
  OUT fresh boolean, OUT key_is_free boolean, OUT answer jsonb, OUT ended_sessions text[]{out})
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM set_config('app.organization_id', organization::text, true);
  fresh := needed IS NULL OR NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= needed;
  SELECT o.time_zone, o.status INTO time_zone, organization_status FROM organizations o WHERE o.id = organization;
  IF person IS NOT NULL THEN
    SELECT m.role, u.session_version{columns} INTO role, session_version{into}
      FROM memberships m JOIN users u ON u.id = m.user_id{join}
     WHERE m.organization_id = organization AND m.user_id = person AND m.status = 'active' AND u.status = 'active';
    ended_sessions := ARRAY(SELECT s.id::text FROM sign_in_sessions s
                             WHERE s.organization_id = organization AND s.user_id = person
                               AND s.ended_at IS NOT NULL AND s.access_until > now());
  END IF;
  IF idempotency_key IS NOT NULL THEN
    -- The lock first and the row after it, in a snapshot of its own: whoever held the lock has committed by then.
    key_is_free := pg_try_advisory_xact_lock(hashtextextended(organization::text || idempotency_key::text, 0));
    IF key_is_free THEN
      SELECT jsonb_build_object('fingerprint', k.fingerprint, 'status', k.status, 'headers', k.headers,
                                'body', encode(k.body, 'base64'))
        INTO answer FROM idempotency_keys k
       WHERE k.organization_id = organization AND k.id = idempotency_key AND k.created_at > now() - INTERVAL '24 hours';
    END IF;
  END IF;
END $$
"""
SIGNATURE = "enter(uuid, uuid, pg_lsn, uuid)"
OWN = {
    "out": ", OUT permissions text[], OUT scope text",
    "columns": ", r.permissions, r.scope",
    "into": ", permissions, scope",
    "join": "\n      LEFT JOIN roles r ON r.organization_id = m.organization_id AND r.id = m.role_id",
}
MFA_OF = """
CREATE OR REPLACE FUNCTION mfa_of(person uuid)
  RETURNS TABLE (sealed_secret text, is_confirmed boolean, codes_left bigint, is_required boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT s.sealed_secret, s.confirmed_at IS NOT NULL,
         (SELECT count(*) FROM recovery_codes c WHERE c.user_id = person AND c.used_at IS NULL),
         EXISTS (SELECT FROM memberships m JOIN organizations o ON o.id = m.organization_id
                  WHERE m.user_id = person AND {named} = ANY (o.mfa_roles)
                    AND m.organization_id = (SELECT NULLIF(current_setting('app.organization_id', true), '')::uuid))
    FROM (SELECT) one LEFT JOIN totp_secrets s ON s.user_id = person
$$
"""


def enter(**parts: str) -> None:
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    text = ENTER
    for name in OWN:
        text = text.replace(f"{{{name}}}", parts.get(name, ""))
    ddl.definer_function(SIGNATURE, text)


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "roles",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("permissions", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", instant, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("scope IN ('all', 'groups', 'own')", name=op.f("ck_roles_scope")),
        sa.CheckConstraint("'organizations:write' <> ALL (permissions)", name=op.f("ck_roles_permissions")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_roles")),
        sa.UniqueConstraint(
            "organization_id", "name_key", name=op.f("uq_roles_name_key"), postgresql_nulls_not_distinct=True
        ),
    )
    ddl.tenant_table("roles")
    op.execute("GRANT SELECT ON roles TO campshub_definer")
    for table in ("memberships", "invitations"):
        op.add_column(table, sa.Column("role_id", sa.Uuid(), nullable=True))
        op.drop_constraint(op.f(f"ck_{table}_role"), table)
        op.create_check_constraint(op.f(f"ck_{table}_role"), table, f"role IN ({BUILT_IN}, 'custom')")
        op.create_index(op.f(f"ix_{table}_role_id"), table, ["organization_id", "role_id"])
    carries = "(role = 'custom') = (role_id IS NOT NULL)"
    op.create_check_constraint(op.f("ck_memberships_own_role"), "memberships", carries)
    # No role goes while someone holds it; a spent invitation forgets it.
    op.create_check_constraint(op.f("ck_invitations_own_role"), "invitations", "role = 'custom' OR role_id IS NULL")
    for table, then in (("memberships", ""), ("invitations", " ON DELETE SET NULL (role_id)")):
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_role_id FOREIGN KEY (organization_id, role_id)"
            f" REFERENCES roles (organization_id, id){then}"
        )
    enter(**OWN)
    named = "CASE WHEN m.role_id IS NULL THEN m.role ELSE m.role_id::text END"
    ddl.definer_function("mfa_of(uuid)", MFA_OF.replace("{named}", named))


def downgrade() -> None:
    # Where someone still carries an own role, the checks refuse: no built-in one is sure to allow no more.
    ddl.definer_function("mfa_of(uuid)", MFA_OF.replace("{named}", "m.role"))
    enter()
    for table in ("invitations", "memberships"):
        op.drop_constraint(op.f(f"fk_{table}_role_id"), table)
        op.drop_constraint(op.f(f"ck_{table}_own_role"), table)
        op.drop_index(op.f(f"ix_{table}_role_id"), table_name=table)
        op.drop_constraint(op.f(f"ck_{table}_role"), table)
        op.create_check_constraint(op.f(f"ck_{table}_role"), table, f"role IN ({BUILT_IN})")
        op.drop_column(table, "role_id")
    op.drop_table("roles")
