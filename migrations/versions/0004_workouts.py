"""Muscles and exercises with the public catalogue; workout logs and sets by month.

Revision ID: 0004
Revises: 0003
"""

import orjson
import sqlalchemy as sa
from alembic import op
from campshub.workouts import catalogue
from migrations import ddl
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SHARED = ("muscles", "exercises", "exercise_muscles")
MONTHLY = ("workout_logs", "workout_log_exercises", "workout_sets")

# Rows that are as the files say are not touched. A catalogue that has changed is brought in by a later revision, with
# statements that know that revision's columns.
MUSCLES = sa.text(
    """
    INSERT INTO muscles (organization_id, id, key, name, muscle_group, side)
    SELECT organization_id, id, key, name, muscle_group, side
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, key text, name text, muscle_group text,
           side text)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET key = excluded.key, name = excluded.name, muscle_group = excluded.muscle_group, side = excluded.side,
          version = muscles.version + 1, updated_at = now()
      WHERE (muscles.key, muscles.name, muscles.muscle_group, muscles.side)
            IS DISTINCT FROM (excluded.key, excluded.name, excluded.muscle_group, excluded.side)
    """
)
EXERCISES = sa.text(
    """
    INSERT INTO exercises (organization_id, id, name, sort_name, search_text, aliases, equipment, mechanic, force,
                           level, load_mode, side, metrics, licence, attribution)
    SELECT organization_id, id, name, sort_name, search_text, aliases, equipment, mechanic, force, level, load_mode,
           side, metrics, licence, attribution
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, name text, sort_name text,
           search_text text, aliases text[], equipment text, mechanic text, force text, level text, load_mode text,
           side text, metrics text[], licence text, attribution text)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET name = excluded.name, sort_name = excluded.sort_name, search_text = excluded.search_text,
          aliases = excluded.aliases, equipment = excluded.equipment, mechanic = excluded.mechanic,
          force = excluded.force, level = excluded.level, load_mode = excluded.load_mode, side = excluded.side,
          metrics = excluded.metrics, licence = excluded.licence, attribution = excluded.attribution,
          version = exercises.version + 1, updated_at = now()
      WHERE (exercises.name, exercises.search_text, exercises.aliases, exercises.equipment, exercises.mechanic,
             exercises.force, exercises.level, exercises.load_mode, exercises.side, exercises.metrics,
             exercises.licence, exercises.attribution)
            IS DISTINCT FROM (excluded.name, excluded.search_text, excluded.aliases, excluded.equipment,
             excluded.mechanic, excluded.force, excluded.level, excluded.load_mode, excluded.side, excluded.metrics,
             excluded.licence, excluded.attribution)
    """
)
SHARES = sa.text(
    """
    INSERT INTO exercise_muscles (organization_id, id, exercise_id, muscle_owner_id, muscle_id, share)
    SELECT organization_id, id, exercise_id, organization_id, muscle_id, share
      FROM json_to_recordset(:rows) AS given(organization_id uuid, id uuid, exercise_id uuid, muscle_id uuid,
           share double precision)
    ON CONFLICT (organization_id, id) DO UPDATE
      SET share = excluded.share, version = exercise_muscles.version + 1, updated_at = now()
      WHERE exercise_muscles.share IS DISTINCT FROM excluded.share
    """
)


def seed(connection) -> dict[str, int]:
    """Bring the platform's rows to what the files say; return how many rows of each table were written."""
    tables = (
        ("muscles", MUSCLES, catalogue.muscle_rows()),
        ("exercises", EXERCISES, catalogue.exercise_rows()),
        ("exercise_muscles", SHARES, catalogue.share_rows()),
    )
    return {
        table: connection.execute(statement, {"rows": orjson.dumps(rows).decode()}).rowcount
        for table, statement, rows in tables
    }


def upgrade() -> None:
    op.create_table('muscles',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('muscle_group', sa.Text(), nullable=False),
        sa.Column('side', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("(organization_id = '00000000-0000-7000-8000-000000000000') = (id < '00000000-0001-0000-0000-000000000000')", name=op.f('ck_muscles_reserved_id')),
        sa.CheckConstraint("muscle_group IN ('arms', 'back', 'chest', 'core', 'legs', 'neck', 'shoulders')", name=op.f('ck_muscles_muscle_group')),
        sa.CheckConstraint("side IN ('front', 'back')", name=op.f('ck_muscles_side')),
        sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_muscles')),
        sa.UniqueConstraint('organization_id', 'key', name=op.f('uq_muscles_key'), postgresql_nulls_not_distinct=True)
    )
    op.create_table('exercises',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('owner_user_id', sa.Uuid(), nullable=True),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('sort_name', sa.Text(), nullable=False),
        sa.Column('search_text', sa.Text(), nullable=False),
        sa.Column('aliases', postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column('equipment', sa.Text(), nullable=False),
        sa.Column('mechanic', sa.Text(), nullable=True),
        sa.Column('force', sa.Text(), nullable=True),
        sa.Column('level', sa.Text(), nullable=True),
        sa.Column('load_mode', sa.Text(), nullable=False),
        sa.Column('side', sa.Text(), nullable=False),
        sa.Column('metrics', postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column('licence', sa.Text(), nullable=True),
        sa.Column('attribution', sa.Text(), nullable=True),
        sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("(organization_id = '00000000-0000-7000-8000-000000000000') = (id < '00000000-0001-0000-0000-000000000000')", name=op.f('ck_exercises_reserved_id')),
        sa.CheckConstraint("equipment IN ('band', 'barbell', 'bodyweight', 'cable', 'cardio_machine', 'dumbbell', 'ez_bar', 'kettlebell', 'landmine', 'machine', 'medicine_ball', 'other', 'plate', 'sled', 'smith_machine', 'suspension', 'trap_bar', 'weighted_vest')", name=op.f('ck_exercises_equipment')),
        sa.CheckConstraint("force IN ('push', 'pull', 'static', 'rotation', 'locomotion')", name=op.f('ck_exercises_force')),
        sa.CheckConstraint("level IN ('beginner', 'intermediate', 'advanced')", name=op.f('ck_exercises_level')),
        sa.CheckConstraint("load_mode IN ('external', 'bodyweight_plus', 'assisted', 'none')", name=op.f('ck_exercises_load_mode')),
        sa.CheckConstraint("mechanic IN ('compound', 'isolation')", name=op.f('ck_exercises_mechanic')),
        sa.CheckConstraint("metrics <@ ARRAY['reps', 'load', 'duration', 'distance'] AND cardinality(metrics) > 0", name=op.f('ck_exercises_metrics')),
        sa.CheckConstraint("side IN ('both', 'one')", name=op.f('ck_exercises_side')),
        sa.ForeignKeyConstraint(['organization_id', 'owner_user_id'], ['memberships.organization_id', 'memberships.user_id'], name=op.f('fk_exercises_owner_user_id')),
        sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_exercises'))
    )
    op.create_index(op.f('ix_exercises_owner_user_id'), 'exercises', ['organization_id', 'owner_user_id'], unique=False)
    op.create_index(op.f('ix_exercises_sort_name_id'), 'exercises', ['organization_id', 'sort_name', 'id'], unique=False)
    op.create_index('uq_exercises_name', 'exercises', ['organization_id', 'owner_user_id', 'sort_name'], unique=True, postgresql_nulls_not_distinct=True, postgresql_where=sa.text('deleted_at IS NULL'))
    op.create_table('exercise_muscles',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('exercise_id', sa.Uuid(), nullable=False),
        sa.Column('muscle_owner_id', sa.Uuid(), nullable=False),
        sa.Column('muscle_id', sa.Uuid(), nullable=False),
        sa.Column('share', sa.Float(), nullable=False),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("muscle_owner_id IN (organization_id, '00000000-0000-7000-8000-000000000000')", name=op.f('ck_exercise_muscles_muscle_owner_id')),
        sa.CheckConstraint('share > 0 AND share <= 1', name=op.f('ck_exercise_muscles_share')),
        sa.ForeignKeyConstraint(['muscle_owner_id', 'muscle_id'], ['muscles.organization_id', 'muscles.id'], name=op.f('fk_exercise_muscles_muscle_owner_id_muscle_id')),
        sa.ForeignKeyConstraint(['organization_id', 'exercise_id'], ['exercises.organization_id', 'exercises.id'], name=op.f('fk_exercise_muscles_exercise_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_exercise_muscles')),
        sa.UniqueConstraint('organization_id', 'exercise_id', 'muscle_owner_id', 'muscle_id', name='uq_exercise_muscles_muscle', postgresql_nulls_not_distinct=True)
    )
    op.create_index(op.f('ix_exercise_muscles_muscle_owner_id_muscle_id'), 'exercise_muscles', ['muscle_owner_id', 'muscle_id'], unique=False)
    op.create_table('workout_log_ids',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('local_date', sa.Date(), nullable=False),
        sa.Column('student_id', sa.Uuid(), nullable=False),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('external_id', sa.Text(), nullable=True),
        sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.ForeignKeyConstraint(['organization_id', 'student_id'], ['students.organization_id', 'students.id'], name=op.f('fk_workout_log_ids_student_id')),
        sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_workout_log_ids')),
        sa.UniqueConstraint('organization_id', 'id', 'local_date', 'student_id', name='uq_workout_log_ids_place')
    )
    op.create_index('uq_workout_log_ids_external_id', 'workout_log_ids', ['organization_id', 'student_id', 'source', 'external_id'], unique=True)
    op.create_table('workout_logs',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('local_date', sa.Date(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('student_id', sa.Uuid(), nullable=False),
        sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('time_zone', sa.Text(), nullable=False),
        sa.Column('title', sa.Text(), nullable=True),
        sa.Column('note', sa.Text(), nullable=True),
        sa.Column('body_weight', sa.Text(), nullable=True),
        sa.Column('body_weight_unit', sa.Text(), nullable=True),
        sa.Column('body_weight_grams', sa.Integer(), nullable=True),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('external_id', sa.Text(), nullable=True),
        sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("num_nulls(body_weight, body_weight_unit, body_weight_grams) IN (0, 3) AND body_weight ~ '^[0-9]{1,4}(\\.[0-9]{1,3})?$' AND body_weight_unit IN ('kg', 'lb') AND body_weight_grams >= 0", name=op.f('ck_workout_logs_body_weight')),
        sa.CheckConstraint('ended_at >= started_at', name=op.f('ck_workout_logs_ended_after_start')),
        sa.ForeignKeyConstraint(['organization_id', 'id', 'local_date', 'student_id'], ['workout_log_ids.organization_id', 'workout_log_ids.id', 'workout_log_ids.local_date', 'workout_log_ids.student_id'], name=op.f('fk_workout_logs_id_local_date_student_id'), onupdate='CASCADE'),
        sa.PrimaryKeyConstraint('organization_id', 'local_date', 'id', name=op.f('pk_workout_logs')),
        postgresql_partition_by='RANGE (local_date)'
    )
    op.create_index(op.f('ix_workout_logs_student_id_local_date_id'), 'workout_logs', ['organization_id', 'student_id', 'local_date', 'id'], unique=False)
    op.create_table('workout_log_exercises',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('local_date', sa.Date(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('log_id', sa.Uuid(), nullable=False),
        sa.Column('student_id', sa.Uuid(), nullable=False),
        sa.Column('exercise_owner_id', sa.Uuid(), nullable=False),
        sa.Column('exercise_id', sa.Uuid(), nullable=False),
        sa.Column('position', sa.Integer(), nullable=False),
        sa.Column('superset', sa.Integer(), nullable=True),
        sa.Column('note', sa.Text(), nullable=True),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("exercise_owner_id IN (organization_id, '00000000-0000-7000-8000-000000000000')", name=op.f('ck_workout_log_exercises_exercise_owner_id')),
        sa.ForeignKeyConstraint(['exercise_owner_id', 'exercise_id'], ['exercises.organization_id', 'exercises.id'], name=op.f('fk_workout_log_exercises_exercise_owner_id_exercise_id')),
        sa.ForeignKeyConstraint(['organization_id', 'log_id', 'local_date', 'student_id'], ['workout_log_ids.organization_id', 'workout_log_ids.id', 'workout_log_ids.local_date', 'workout_log_ids.student_id'], name=op.f('fk_workout_log_exercises_log_id_local_date_student_id'), onupdate='CASCADE'),
        sa.PrimaryKeyConstraint('organization_id', 'local_date', 'id', name=op.f('pk_workout_log_exercises')),
        sa.UniqueConstraint('organization_id', 'local_date', 'log_id', 'student_id', 'position', name='uq_workout_log_exercises_position', postgresql_nulls_not_distinct=True),
        postgresql_partition_by='RANGE (local_date)'
    )
    op.create_index(op.f('ix_workout_log_exercises_exercise_owner_id_exercise_id'), 'workout_log_exercises', ['exercise_owner_id', 'exercise_id'], unique=False)
    op.create_table('workout_sets',
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.Column('local_date', sa.Date(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('log_id', sa.Uuid(), nullable=False),
        sa.Column('log_exercise_id', sa.Uuid(), nullable=False),
        sa.Column('student_id', sa.Uuid(), nullable=False),
        sa.Column('exercise_owner_id', sa.Uuid(), nullable=False),
        sa.Column('exercise_id', sa.Uuid(), nullable=False),
        sa.Column('position', sa.Integer(), nullable=False),
        sa.Column('type', sa.Text(), server_default='normal', nullable=False),
        sa.Column('reps', sa.Integer(), nullable=True),
        sa.Column('load', sa.Text(), nullable=True),
        sa.Column('load_unit', sa.Text(), nullable=True),
        sa.Column('load_grams', sa.Integer(), nullable=True),
        sa.Column('seconds', sa.Integer(), nullable=True),
        sa.Column('metres', sa.Integer(), nullable=True),
        sa.Column('rir', sa.Float(), nullable=True),
        sa.Column('rest_seconds', sa.Integer(), nullable=True),
        sa.Column('done_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('fingerprint', sa.LargeBinary(), nullable=True),
        sa.Column('version', sa.Integer(), server_default='1', nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.CheckConstraint("exercise_owner_id IN (organization_id, '00000000-0000-7000-8000-000000000000')", name=op.f('ck_workout_sets_exercise_owner_id')),
        sa.CheckConstraint("num_nulls(load, load_unit, load_grams) IN (0, 3) AND load ~ '^[0-9]{1,4}(\\.[0-9]{1,3})?$' AND load_unit IN ('kg', 'lb') AND load_grams >= 0", name=op.f('ck_workout_sets_load')),
        sa.CheckConstraint("type IN ('normal', 'warm_up', 'drop', 'failure', 'amrap', 'back_off', 'rest_pause', 'cluster')", name=op.f('ck_workout_sets_type')),
        sa.CheckConstraint('num_nonnulls(reps, load_grams, seconds, metres) > 0', name=op.f('ck_workout_sets_says_something')),
        sa.CheckConstraint('reps >= 0 AND seconds >= 0 AND metres >= 0 AND rest_seconds >= 0', name=op.f('ck_workout_sets_not_negative')),
        sa.ForeignKeyConstraint(['organization_id', 'log_id', 'local_date', 'student_id'], ['workout_log_ids.organization_id', 'workout_log_ids.id', 'workout_log_ids.local_date', 'workout_log_ids.student_id'], name=op.f('fk_workout_sets_log_id_local_date_student_id'), onupdate='CASCADE'),
        sa.PrimaryKeyConstraint('organization_id', 'local_date', 'id', name=op.f('pk_workout_sets')),
        sa.UniqueConstraint('organization_id', 'local_date', 'log_id', 'student_id', 'log_exercise_id', 'position', name='uq_workout_sets_position', postgresql_nulls_not_distinct=True),
        postgresql_partition_by='RANGE (local_date)'
    )
    op.create_index(op.f('ix_workout_sets_student_id_exercise_id_local_date'), 'workout_sets', ['organization_id', 'student_id', 'exercise_id', 'local_date'], unique=False)
    for table in SHARED:
        ddl.tenant_table(table, shared=True)
    for table in ("workout_log_ids", *MONTHLY):
        ddl.tenant_table(table)
    for table in MONTHLY:
        ddl.monthly_partitions(table)
    # Policies let nobody write the platform's rows, so this runs under the role that they do not bind.
    op.execute("SET ROLE campshub_backfill")
    made = seed(op.get_bind())
    op.execute("SET ROLE campshub_owner")
    wanted = {
        "muscles": len(catalogue.muscle_rows()),
        "exercises": len(catalogue.exercise_rows()),
        "exercise_muscles": len(catalogue.share_rows()),
    }
    if made != wanted:
        raise RuntimeError(f"the catalogue wrote {made} rows instead of {wanted}")


def downgrade() -> None:
    for table in (*reversed(MONTHLY), "workout_log_ids", *reversed(SHARED)):
        op.drop_table(table)
