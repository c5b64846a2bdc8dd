"""Prepare the folder in which processes share metrics, then import prometheus_client; import its classes from here.

prometheus_client decides during its import whether processes share metrics: it checks whether
``PROMETHEUS_MULTIPROC_DIR`` is set, treats an empty value as the working folder, and opens files in the folder at once.
"""

import os
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def _prepared() -> Path | None:
    """Create the folder; remove an empty value from the environment."""
    if not os.environ.get(_VARIABLE):
        os.environ.pop(_VARIABLE, None)
        return None
    folder = Path(os.environ[_VARIABLE])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


FOLDER = _prepared()

from prometheus_client import (  # noqa: E402 - after the folder, see above
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    start_http_server,
)

__all__ = [
    "FOLDER",
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Gauge",
    "Histogram",
    "generate_latest",
    "multiprocess",
    "start_http_server",
]
