"""The retention of change sets."""

from campshub.changes.models import STORED_DAYS, ChangeSet
from campshub.core.db.retention import expires

expires(ChangeSet, f"recorded_at < now() - INTERVAL '{STORED_DAYS} days'")
