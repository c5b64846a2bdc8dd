"""Operating an installation: maintenance commands, scheduled jobs, threshold checks and alerts."""
