"""wger's settings for the benchmark: its own, with PostgreSQL, without debugging. wger's own Python reads them."""

import os

from wger.settings_global import *  # noqa: F403 - wger's own settings begin so

DEBUG = False
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["WGER_DATABASE"],
        "USER": os.environ["WGER_USER"],
        "PASSWORD": os.environ["WGER_PASSWORD"],
        "HOST": os.environ["WGER_HOST"],
        "PORT": os.environ["WGER_PORT"],
        "CONN_MAX_AGE": 600,  # persistent, as usual in a benchmark
    }
}
CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{os.environ.get('WGER_CACHE', 'dummy.DummyCache')}"}}
TIME_ZONE = "UTC"
SECRET_KEY = "for the benchmark only"  # noqa: S105 - a database of catalogue data that lives for a run
SITE_URL = "http://127.0.0.1"
MEDIA_ROOT = "media"
MEDIA_URL = "/media/"
ALLOWED_HOSTS = ["*"]
LOGGING = {"version": 1}
SILENCED_SYSTEM_CHECKS = ["captcha.recaptcha_test_key_error"]  # registration is not used
