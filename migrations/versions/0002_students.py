"""Students, groups, trainers, enrolments, and the typo-tolerant search.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


# Trigram operators are not leak-proof: under a policy they could not use their index. So this function sees past the
# policy, and takes the tenant from the setting itself. Word similarity finds a part of a name; the whole-text
# similarity ranks whoever fits best first.
SEARCH = """
CREATE FUNCTION search_students(words text, most int) RETURNS TABLE (student_id uuid, distance int)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET pg_trgm.word_similarity_threshold = 0.35 AS $$
  SELECT c.id, (1000 * ((words <<-> c.search_text) + (words <<<-> c.search_text)
                        + (words <-> c.search_text) / 10))::int AS distance
    FROM (SELECT s.id, s.search_text FROM students s
           WHERE s.organization_id = NULLIF(current_setting('app.organization_id', true), '')::uuid
             AND words <% s.search_text
           LIMIT 5000) AS c  -- ranking is dear, and what fits so many is no search
   ORDER BY 2, 1 LIMIT most
$$
"""


def upgrade() -> None:
    op.create_table('groups',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), server_default='active', nullable=False),
    sa.Column('capacity', sa.Integer(), nullable=True),
    sa.Column('begins_on', sa.Date(), nullable=True),
    sa.Column('ends_on', sa.Date(), nullable=True),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
    sa.Column('version', sa.Integer(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("kind IN ('class', 'batch', 'camp', 'course')", name=op.f('ck_groups_kind')),
    sa.CheckConstraint("status IN ('draft', 'active', 'archived')", name=op.f('ck_groups_status')),
    sa.CheckConstraint('capacity IS NULL OR capacity > 0', name=op.f('ck_groups_capacity')),
    sa.CheckConstraint('ends_on IS NULL OR begins_on IS NULL OR ends_on >= begins_on', name=op.f('ck_groups_ends_after_begin')),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_groups')),
    sa.UniqueConstraint('organization_id', 'code', name='uq_groups_code', postgresql_nulls_not_distinct=True)
    )
    op.create_index(op.f('ix_groups_name_id'), 'groups', ['organization_id', 'name', 'id'], unique=False)
    op.create_index(op.f('ix_groups_status_name_id'), 'groups', ['organization_id', 'status', 'name', 'id'], unique=False)
    op.create_table('students',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=True),
    sa.Column('user_id', sa.Uuid(), nullable=True),
    sa.Column('given_name', sa.Text(), nullable=False),
    sa.Column('family_name', sa.Text(), nullable=False),
    sa.Column('preferred_name', sa.Text(), nullable=True),
    sa.Column('sort_name', sa.Text(), nullable=False),
    sa.Column('search_text', sa.Text(), nullable=False),
    sa.Column('date_of_birth', sa.Date(), nullable=True),
    sa.Column('gender', sa.Text(), nullable=True),
    sa.Column('email', sa.Text(), nullable=True),
    sa.Column('phone', sa.Text(), nullable=True),
    sa.Column('address', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('emergency_contacts', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('guardians', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('medical_note', sa.LargeBinary(), nullable=True),
    sa.Column('status', sa.Text(), server_default='active', nullable=False),
    sa.Column('joined_on', sa.Date(), nullable=True),
    sa.Column('left_on', sa.Date(), nullable=True),
    sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
    sa.Column('version', sa.Integer(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("status IN ('lead', 'active', 'inactive', 'alumni', 'suspended')", name=op.f('ck_students_status')),
    sa.CheckConstraint('left_on IS NULL OR joined_on IS NULL OR left_on >= joined_on', name=op.f('ck_students_left_after_joined')),
    sa.ForeignKeyConstraint(['organization_id', 'user_id'], ['memberships.organization_id', 'memberships.user_id'], name=op.f('fk_students_user_id')),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_students')),
    sa.UniqueConstraint('organization_id', 'code', name='uq_students_code', postgresql_nulls_not_distinct=True)
    )
    op.create_index(op.f('ix_students_joined_on'), 'students', ['organization_id', 'joined_on'], unique=False)
    op.create_index('ix_students_search', 'students', ['organization_id', sa.literal_column('search_text gin_trgm_ops')], unique=False, postgresql_using='gin')
    op.create_index(op.f('ix_students_sort_name_id'), 'students', ['organization_id', 'sort_name', 'id'], unique=False)
    op.create_index(op.f('ix_students_status_sort_name_id'), 'students', ['organization_id', 'status', 'sort_name', 'id'], unique=False)
    op.create_index('uq_students_external_id', 'students', ['organization_id', 'external_id'], unique=True)
    op.create_index('uq_students_user_id', 'students', ['organization_id', 'user_id'], unique=True)
    op.create_table('enrolments',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('student_id', sa.Uuid(), nullable=False),
    sa.Column('group_id', sa.Uuid(), nullable=False),
    sa.Column('begins_on', sa.Date(), nullable=False),
    sa.Column('ends_on', sa.Date(), nullable=True),
    sa.Column('status', sa.Text(), server_default='active', nullable=False),
    sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
    sa.Column('version', sa.Integer(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    postgresql.ExcludeConstraint((sa.column('organization_id'), '='), (sa.column('student_id'), '='), (sa.column('group_id'), '='), (sa.text("daterange(begins_on, ends_on, '[]')"), '&&'), where=sa.text("status IN ('active', 'completed')"), using='gist', name='ex_enrolments_overlap'),
    sa.CheckConstraint("status IN ('pending', 'active', 'withdrawn', 'completed')", name=op.f('ck_enrolments_status')),
    sa.CheckConstraint('ends_on IS NULL OR ends_on >= begins_on', name=op.f('ck_enrolments_ends_after_begin')),
    sa.ForeignKeyConstraint(['organization_id', 'group_id'], ['groups.organization_id', 'groups.id'], name=op.f('fk_enrolments_group_id')),
    sa.ForeignKeyConstraint(['organization_id', 'student_id'], ['students.organization_id', 'students.id'], name=op.f('fk_enrolments_student_id')),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_enrolments'))
    )
    op.create_index(op.f('ix_enrolments_group_id_begins_on_student_id'), 'enrolments', ['organization_id', 'group_id', 'begins_on', 'student_id'], unique=False)
    op.create_index(op.f('ix_enrolments_student_id_begins_on'), 'enrolments', ['organization_id', 'student_id', 'begins_on'], unique=False)
    op.create_table('group_trainers',
    sa.Column('organization_id', sa.Uuid(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('group_id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('version', sa.Integer(), server_default='1', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'group_id'], ['groups.organization_id', 'groups.id'], name=op.f('fk_group_trainers_group_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'user_id'], ['memberships.organization_id', 'memberships.user_id'], name=op.f('fk_group_trainers_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_group_trainers')),
    sa.UniqueConstraint('organization_id', 'group_id', 'user_id', name=op.f('uq_group_trainers_group_id_user_id'), postgresql_nulls_not_distinct=True)
    )
    op.create_index(op.f('ix_group_trainers_user_id_group_id'), 'group_trainers', ['organization_id', 'user_id', 'group_id'], unique=False)
    for table in ("groups", "students", "enrolments", "group_trainers"):
        ddl.tenant_table(table)
    op.execute("GRANT SELECT ON students TO campshub_definer")
    ddl.definer_function("search_students(text, int)", SEARCH)


def downgrade() -> None:
    op.execute("DROP FUNCTION search_students(text, int)")
    for table in ("group_trainers", "enrolments", "students", "groups"):
        op.drop_table(table)
