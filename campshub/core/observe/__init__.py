"""Observability: logs, metrics, slow statements."""
