"""Settings: everything that an installation may choose, typed, read once from the environment."""

import base64
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL

KEY_BYTES = 32


class SettingsError(Exception):
    """The environment does not say what the application must know; the message is one line."""


class _FromFiles(EnvSettingsSource):
    """Reads a setting from the file that ``NAME_FILE`` names, as container secrets are handed over."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's own
        """Return what the setting's file holds."""
        path = os.environ.get(f"{field_name.upper()}_FILE")
        return (Path(path).read_text(encoding="utf-8").strip() if path else None), field_name, False


class Settings(BaseSettings):
    """Every setting, with its default; a secret has none."""

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
    slow_statement_ms: int = Field(default=100, ge=0)

    redis_url: str = "redis://127.0.0.1:6379/0"
    celery_broker_url: str = "redis://127.0.0.1:6380/0"

    secret_key: str = Field(min_length=16)
    jwt_private_keys: str
    field_encryption_keys: str
    jwt_issuer: str = "campshub"
    access_token_minutes: int = 30
    refresh_token_days: int = 30
    password_cost: int = Field(default=12, ge=4, le=16)

    allowed_hosts: str = "localhost,127.0.0.1"
    trusted_proxies: int = 0
    health_details: Literal["internal", "public"] = "internal"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("jwt_private_keys", "field_encryption_keys")
    @classmethod
    def _keys_are_whole(cls, value: str) -> str:
        read_keys(value)
        return value

    @property
    def hosts(self) -> frozenset[str]:
        """The host names that requests may name; ``*`` allows all."""
        return frozenset(host.strip().lower() for host in self.allowed_hosts.split(",") if host.strip())

    @property
    def replicas(self) -> list[tuple[str, int]]:
        """The replicas' addresses; one port may stand for all of them."""
        hosts = [host.strip() for host in self.postgres_replica_host.split(",") if host.strip()]
        ports = [int(port) for port in self.postgres_replica_port.split(",")]
        return [(host, ports[index] if len(ports) > 1 else ports[0]) for index, host in enumerate(hosts)]

    def database_url(self, role: str, host: str = "", port: int = 0) -> URL:
        """Return the address under which a role (app, migrator, system, maintenance) reaches the database."""
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
        """Ask the arguments first, then the environment, then the files that it names."""
        return init_settings, env_settings, _FromFiles(settings_cls)


def read_keys(value: str) -> dict[str, bytes]:
    """Read a key ring: ``id:key,id:key`` with keys of 32 bytes in base64url; the first one is current.

    :raises ValueError: an entry is not of that form.
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


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    :raises SettingsError: something is missing or wrong; one line names it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].lower()}" for e in error.errors())
        raise SettingsError(f"settings: {wrong} (see env.example)") from None
