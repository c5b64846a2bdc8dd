"""How migrations run: as the migrator, without PgBouncer, as the owner of the tables, with a short lock timeout."""

import re

from alembic import context
from flask import current_app
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from campshub.core.db.models import Base
from campshub.modules import load_models

_PARTITION = re.compile(r"_p\d{4}_\d{2}(_|$)")
LOCK_TIMEOUT = "2s"


def include_name(name, kind, parents):
    """Leave out partitions: maintenance creates them, not migrations."""
    table = name if kind == "table" else parents.get("table_name")
    return not (table and _PARTITION.search(table))


def number(_context, _revision, directives):
    """Give a new revision the next number, which is also the beginning of its file's name."""
    directives[0].rev_id = f"{int(context.script.get_current_head() or 0) + 1:04}"


def run() -> None:
    load_models()
    settings = current_app.extensions["campshub"].settings
    engine = create_engine(settings.database_url("migrator"), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET ROLE campshub_owner"))
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_name=include_name,
            compare_type=True,
            process_revision_directives=number,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


def run_offline() -> None:
    load_models()
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run()
