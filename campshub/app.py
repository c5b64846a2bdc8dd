"""The application: settings, extensions, then the modules in their order."""

from flask import Flask
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

import campshub
from campshub import modules
from campshub.config import Settings, load_settings
from campshub.core.db import roles
from campshub.core.db.session import PRIMARY, db, engine_config
from campshub.core.http import chain, docs, errors, openapi
from campshub.core.http.application import Application
from campshub.core.http.browsers import Browsers
from campshub.core.http.front import Front
from campshub.core.http.marks import MIB
from campshub.core.http.openapi import Api
from campshub.core.observe import health, logs, metrics, slow, slow_requests
from campshub.core.platform import Platform


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application from its settings, which the environment gives where none are handed over.

    :raises SettingsError: a setting is missing or wrong.
    """
    settings = settings or load_settings()
    app = Application("campshub", static_folder=None)
    _configure(app, settings)
    logs.init(settings.log_level)
    slow.init(settings.slow_statement_ms)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    platform = Platform(settings)
    slow_requests.init(platform.cache, settings.postgres_db)
    app.extensions["campshub"] = platform
    platform.tokens.init_app(app)
    db.init_app(app)
    with app.app_context():
        for name, engine in db.engines.items():
            metrics.watch(engine, name or PRIMARY)
        platform.connect(db.engines)
    roles.guard(app)
    Migrate(app, db, directory="migrations")
    errors.init_app(app)
    browsers = Browsers(settings)
    chain.init_app(app, settings.hosts, browsers)
    app.front = Front(app, platform, settings.hosts, browsers)
    platform.declared.init_app(app)
    api = Api(app, spec_kwargs={"marshmallow_plugin": openapi.plugin(), **openapi.information()})
    api.describe()
    modules.load(app, api)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(docs.blueprint(api))
    return app


def _configure(app: Flask, settings: Settings) -> None:
    app.config.update(
        engine_config(settings),
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=MIB,
        # No page uses a cookie; should one, this is how it goes out.
        SESSION_COOKIE_SECURE=settings.secures_session_cookie,
        SESSION_COOKIE_SAMESITE="Strict",
        JWT_COOKIE_SECURE=settings.secures_csrf_cookie,
        JWT_COOKIE_SAMESITE="Strict",
        API_TITLE="CampsHub",
        API_VERSION=campshub.__version__,
        OPENAPI_VERSION="3.1.0",
    )
