"""``flask`` commands that operate an installation."""

from campshub.operations.cli.alerts import alerts
from campshub.operations.cli.cache import cache
from campshub.operations.cli.installation import check_config
from campshub.operations.cli.jobs import jobs, schedule
from campshub.operations.cli.keys import keys
from campshub.operations.cli.optimize import optimize_database
from campshub.operations.cli.partitions import partitions
from campshub.operations.cli.passwords import passwords
from campshub.operations.cli.permissions import permissions
from campshub.operations.cli.rollups import rollups

__all__ = ["commands"]

commands = (
    check_config,
    alerts,
    cache,
    jobs,
    schedule,
    keys,
    optimize_database,
    partitions,
    passwords,
    permissions,
    rollups,
)
