"""The WSGI application for gunicorn and the flask command."""

import sys

from campshub.app import create_app
from campshub.config import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.exit(str(error))
