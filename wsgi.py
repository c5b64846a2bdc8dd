"""What gunicorn and the flask command serve."""

import sys

from campshub.app import create_app
from campshub.config import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.exit(str(error))
