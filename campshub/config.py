"""The settings of an installation: typed, validated, and read once from the environment."""

import base64
import ipaddress
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import limits
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL

KEY_BYTES = 32
LEAST_RETENTION_MONTHS = 15
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class SettingsError(Exception):
    """A setting is missing or invalid; the message is one line."""


class OidcIssuer(BaseModel):
    """An OIDC issuer whose ID tokens are accepted for sign-in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str  # the value of the claim iss
    audiences: frozenset[str] = Field(min_length=1)
    jwks_uri: str | None = None  # None: read it from the issuer's discovery document
    algorithms: frozenset[Literal["RS256", "ES256", "EdDSA"]] = frozenset({"RS256"})
    # Whether an e-mail address that the issuer marks as verified identifies the user with that address.
    trusts_email: bool = False
    # The values of the claim amr that count as a second factor.
    mfa_amr: frozenset[str] = frozenset()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs from which keys are fetched, as far as the settings contain them."""
        return (self.jwks_uri,) if self.jwks_uri else (self.issuer,)


_ISSUERS = TypeAdapter(list[OidcIssuer])


class _FromFiles(EnvSettingsSource):
    """Reads a setting from the file that ``NAME_FILE`` names, as is usual for container secrets."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's own
        """Return the content of the setting's file."""
        path = os.environ.get(f"{field_name.upper()}_FILE")
        return (Path(path).read_text(encoding="utf-8").strip() if path else None), field_name, False


class Settings(BaseSettings):
    """All settings with their defaults; required secrets have none."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    postgres_db: str = "campshub"
    postgres_host: str = "127.0.0.1"
    postgres_port: int = 5432
    postgres_user: str = "campshub_app"
    postgres_password: str
    postgres_migrator_user: str = "campshub_migrator"
    postgres_migrator_password: str = ""
    postgres_system_user: str = "campshub_system"
    postgres_system_password: str
    postgres_maintenance_user: str = "campshub_maintenance"
    postgres_maintenance_password: str = ""
    postgres_direct_host: str = ""
    postgres_direct_port: int = 0
    postgres_sslmode: str = "prefer"
    postgres_replica_host: str = ""
    postgres_replica_port: str = "5432"
    db_pool_size: int = Field(default=20, ge=1)
    db_pool_timeout_s: float = Field(default=2.0, gt=0)
    db_prepare_threshold: int | None = None
    db_spill: int = Field(default=10, ge=1)
    replica_wait_s: float = Field(default=2.0, ge=0)
    slow_statement_ms: int = Field(default=100, ge=0)

    redis_url: str = "redis://127.0.0.1:6379/0"
    celery_broker_url: str = "redis://127.0.0.1:6380/0"

    secret_key: str = Field(min_length=16)
    jwt_private_keys: str
    field_encryption_keys: str
    jwt_issuer: str = "campshub"
    access_token_minutes: int = 30
    refresh_token_days: int = Field(default=30, ge=1)
    session_days: int = Field(default=180, ge=1)
    password_cost: int = Field(default=12, ge=4, le=16)
    password_hashes_at_once: int = Field(default=2, ge=1, le=64)
    password_wait_s: float = Field(default=5.0, gt=0)
    password_list: str = ""
    lockout_account_after: int = Field(default=5, ge=1)
    lockout_address_after: int = Field(default=100, ge=1)
    lockout_first_s: int = Field(default=30, ge=1)
    lockout_longest_s: int = Field(default=900, ge=1)

    step_up_minutes: int = Field(default=10, ge=1)
    api_key_days: int = Field(default=365, ge=1, le=36_500)
    device_key_days: int = Field(default=1825, ge=1, le=36_500)

    oidc_issuers: str = ""
    oidc_timeout_s: float = Field(default=3.0, gt=0, le=30)
    oidc_keys_life_s: int = Field(default=3600, ge=1)
    oidc_keys_kept_s: int = Field(default=86_400, ge=1)

    job_claim_s: float = Field(default=30.0, ge=1)
    job_retry_s: float = Field(default=30.0, gt=0)
    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: int = Field(default=0, ge=0, le=65535)

    organization_erase_days: int = Field(default=30, ge=0)
    retention_months: int = Field(default=0, ge=0, le=12_000)  # the calendar begins with the year 1
    workout_years_back: int = Field(default=10, ge=1, le=50)
    archive_url: str = ".devstack/archive"
    archive_keys: str = ""

    smtp_url: str = ""
    mail_from: str = "CampsHub <campshub@localhost>"
    mail_folder: str = ".devstack/mail"
    public_url: str = "http://localhost:8000"

    storage_url: str = ".devstack/storage"
    report_days: int = Field(default=7, ge=1, le=90)
    report_link_minutes: int = Field(default=15, ge=1, le=1440)
    report_most_under_way: int = Field(default=5, ge=1)
    report_fonts: str = ""
    report_pdf_rows: int = Field(default=20_000, ge=1, le=100_000)

    rate_limit_anonymous: str = "100/hour"
    rate_limit_user: str = "1000/hour"
    rate_limit_login: str = "5/minute"
    rate_limit_login_address: str = "60/minute"
    rate_limit_refresh: str = "600/minute"
    rate_limit_chat: str = "20/minute"
    rate_limit_generation: str = "10/minute"
    rate_limit_rpm: int = Field(default=1000, ge=1, le=1_000_000)
    rate_limit_burst: int = Field(default=100, ge=1, le=1_000_000)

    cache_ttl_data: int = Field(default=300, ge=0)
    cache_ttl_analytics: int = Field(default=600, ge=0)
    cache_ttl_statistics: int = Field(default=1800, ge=0)
    cache_memory_mb: int = Field(default=64, ge=0)
    cache_warm_most: int = Field(default=50, ge=1, le=500)
    cache_warm_per_second: float = Field(default=20.0, gt=0)

    debug: bool = False
    allowed_hosts: str = "localhost,127.0.0.1"
    cors_origins: str = ""
    secure_ssl_redirect: bool | None = None
    session_cookie_secure: bool | None = None
    csrf_cookie_secure: bool | None = None
    trusted_proxies: int = 0
    health_details: Literal["internal", "public"] = "internal"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("jwt_private_keys", "field_encryption_keys")
    @classmethod
    def _check_keys(cls, value: str) -> str:
        read_keys(value)
        return value

    @field_validator("archive_keys")
    @classmethod
    def _check_archive_keys(cls, value: str) -> str:
        if value:
            read_keys(value)
        return value

    @field_validator("retention_months")
    @classmethod
    def _check_retention(cls, value: int) -> int:
        if 0 < value < LEAST_RETENTION_MONTHS:
            raise ValueError(f"must be 0 or at least {LEAST_RETENTION_MONTHS}: dates up to 400 days ago are accepted")
        return value

    @field_validator("redis_url", "celery_broker_url")
    @classmethod
    def _check_redis_urls(cls, value: str, info: ValidationInfo) -> str:
        """Check each URL; messages do not repeat it, because it may contain a password."""
        urls = _parts(value) if info.field_name == "redis_url" else [value]
        if not urls or not all(_is_redis(url) for url in urls):
            raise ValueError("each must be redis://host, rediss://host or unix:///path, with :password@ where needed")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"smtp", "smtps"} or not parts.hostname):
            raise ValueError("must be smtp://host or smtps://host, with user:password@ and :port where needed")
        return value

    @field_validator(
        "rate_limit_anonymous",
        "rate_limit_user",
        "rate_limit_login",
        "rate_limit_login_address",
        "rate_limit_refresh",
        "rate_limit_chat",
        "rate_limit_generation",
    )
    @classmethod
    def _check_limit(cls, value: str) -> str:
        read_limit(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("each must be https://host or http://host, with :port where needed, and no path")
        return value

    @model_validator(mode="after")
    def _check_issuers(self) -> "Settings":
        found = read_issuers(self.oidc_issuers)
        if len({one.issuer for one in found}) != len(found):
            raise ValueError("OIDC_ISSUERS names an issuer twice")
        for address in (address for one in found for address in one.addresses):
            if not is_allowed_url(address, debug=self.debug):
                raise ValueError(f"OIDC_ISSUERS: {address} must be https (http only for loopback, with DEBUG)")
        return self

    @property
    def redis_urls(self) -> list[str]:
        """The URLs of the cache Redis servers; each organization's stamps and responses are stored in one of them."""
        return _parts(self.redis_url)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The host names that are served; None (the setting ``*``) means all."""
        hosts = frozenset(host.strip().lower() for host in self.allowed_hosts.split(",") if host.strip())
        return None if "*" in hosts else hosts

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may read responses."""
        return _listed(self.cors_origins)

    @property
    def demands_tls(self) -> bool:
        """Whether requests without TLS are refused; by default, unless DEBUG is set."""
        return not self.debug if self.secure_ssl_redirect is None else self.secure_ssl_redirect

    @property
    def secures_session_cookie(self) -> bool:
        """Whether a session cookie would have the attribute Secure."""
        return not self.debug if self.session_cookie_secure is None else self.session_cookie_secure

    @property
    def secures_csrf_cookie(self) -> bool:
        """Whether a CSRF cookie would have the attribute Secure."""
        return not self.debug if self.csrf_cookie_secure is None else self.csrf_cookie_secure

    @property
    def replicas(self) -> list[tuple[str, int]]:
        """Host and port of each replica; a single port applies to all."""
        hosts = [host.strip() for host in self.postgres_replica_host.split(",") if host.strip()]
        ports = [int(port) for port in self.postgres_replica_port.split(",")]
        return [(host, ports[index] if len(ports) > 1 else ports[0]) for index, host in enumerate(hosts)]

    def database_url(self, role: str, host: str = "", port: int = 0) -> URL:
        """Return the database URL of a role (app, migrator, system, maintenance)."""
        direct = role in {"migrator", "maintenance"}
        user = self.postgres_user if role == "app" else getattr(self, f"postgres_{role}_user")
        password = self.postgres_password if role == "app" else getattr(self, f"postgres_{role}_password")
        return URL.create(
            "postgresql+psycopg",
            username=user,
            password=password,
            host=host or (direct and self.postgres_direct_host) or self.postgres_host,
            port=port or (direct and self.postgres_direct_port) or self.postgres_port,
            database=self.postgres_db,
            query={"sslmode": self.postgres_sslmode},
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the arguments first, then the environment, then the files that it names."""
        return init_settings, env_settings, _FromFiles(settings_cls)


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _listed(value: str) -> list[str]:
    return [part.lower() for part in _parts(value)]


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    has_database = parts.path in {"", "/"} or parts.path[1:].isdecimal()
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and has_database


def read_keys(value: str) -> dict[str, bytes]:
    """Parse a key ring: ``id:key,id:key`` with keys of 32 bytes in base64url; the first one is current.

    :raises ValueError: an entry does not have that form.
    """
    ring: dict[str, bytes] = {}
    for entry in filter(None, (part.strip() for part in value.split(","))):
        name, _, encoded = entry.partition(":")
        key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)) if encoded else b""
        if not name or len(key) != KEY_BYTES:
            raise ValueError("each entry must be id:key, the key 32 bytes in base64url")
        ring[name] = key
    if not ring:
        raise ValueError("at least one id:key is needed")
    return ring


def read_limit(value: str) -> tuple[int, int]:
    """Parse a limit such as ``100/hour``; return the number of requests and the period in seconds.

    :raises ValueError: the value does not have that form.
    """
    with suppress(ValueError):
        limit = limits.parse(value)
        # The library also reads other spellings, several limits and longer periods.
        is_ours = value == f"{limit.amount}/{limit.GRANULARITY.name}" and limit.get_expiry() <= 24 * 3600
        if is_ours and 0 < limit.amount < 10**7:
            return limit.amount, limit.get_expiry()
    raise ValueError("must be count/second, /minute, /hour or /day, the count 1 to 9999999")


def read_issuers(value: str) -> list[OidcIssuer]:
    """Parse the issuers of ID tokens from a JSON list.

    :raises ValueError: it is not such a list, or an issuer has an unknown or invalid field.
    """
    if not value.strip():
        return []
    try:
        return _ISSUERS.validate_json(value)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise ValueError(f"OIDC_ISSUERS: {location}: {first['msg'].lower()}") from None


def is_allowed_url(address: str, *, debug: bool) -> bool:
    """Return whether keys may be fetched from an issuer's URL: https, or with ``debug`` http on loopback."""
    parts = urlsplit(address)
    if not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and debug and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    :raises SettingsError: a setting is missing or invalid; the message has one line and names it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        # The message of a rule about several settings contains their names.
        named = ((".".join(map(str, e["loc"])).upper(), e["msg"]) for e in error.errors())
        wrong = "; ".join(f"{name}: {message.lower()}" if name else message for name, message in named)
        raise SettingsError(f"settings: {wrong} (see env.example)") from None
