"""The application factory: settings, extensions, then the modules in their order."""

from flask import Flask
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

import campshub
from campshub import modules
from campshub.config import Settings, load_settings
from campshub.core import health
from campshub.core.cache.values import value_cache
from campshub.core.db import startup_checks
from campshub.core.db.engine import engine_config
from campshub.core.db.session import PRIMARY, db
from campshub.core.http import error_handlers, middleware, slow_requests
from campshub.core.http.decorators import MIB
from campshub.core.http.fast_path import Application, FastPath
from campshub.core.http.middleware import BrowserHeaders
from campshub.core.http.openapi import docs, document
from campshub.core.http.openapi.document import Api
from campshub.core.observe import logs, metrics, slow
from campshub.core.services import ServiceContainer


def create_app(settings: Settings | None = None) -> Flask:
    """Create the application; without ``settings`` it reads them from the environment.

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
    services = ServiceContainer(settings)
    slow_requests.init(services.cache, settings.postgres_db)
    app.extensions["campshub"] = services
    services.value_cache = value_cache(app)
    services.tokens.init_app(app)
    db.init_app(app)
    with app.app_context():
        for name, engine in db.engines.items():
            metrics.watch(engine, name or PRIMARY)
        services.connect(db.engines)
    startup_checks.guard(app)
    Migrate(app, db, directory="migrations")
    error_handlers.init_app(app)
    browsers = BrowserHeaders(settings)
    middleware.init_app(app, settings.hosts, browsers)
    app.fast_path = FastPath(app, services, settings.hosts, browsers)
    services.endpoint_limits.init_app(app)
    api = Api(app, spec_kwargs={"marshmallow_plugin": document.plugin(), **document.information()})
    api.describe()
    modules.load(app, api)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(docs.docs_blueprint(api))
    return app


def _configure(app: Flask, settings: Settings) -> None:
    app.config.update(
        engine_config(settings),
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=MIB,
        # No page uses a cookie; these attributes would apply to one.
        SESSION_COOKIE_SECURE=settings.secures_session_cookie,
        SESSION_COOKIE_SAMESITE="Strict",
        JWT_COOKIE_SECURE=settings.secures_csrf_cookie,
        JWT_COOKIE_SAMESITE="Strict",
        API_TITLE="CampsHub",
        API_VERSION=campshub.__version__,
        OPENAPI_VERSION="3.1.0",
    )
