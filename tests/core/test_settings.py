import ast
import json
import re
import subprocess
import sys
from typing import get_args

import pytest

from campshub.config import Settings, SettingsError, load_settings
from campshub.core.http.decorators import LimitName
from tests.conftest import ROOT, settings_of
from tests.surface import operations

ROLE = ("user", "password")
CONFIG = ROOT / "campshub" / "config.py"
GUNICORN = (ROOT / "config" / "gunicorn.conf.py").read_text(encoding="utf-8")
SECRETS = {"postgres_password", "postgres_system_password", "secret_key", "jwt_private_keys", "field_encryption_keys"}


def _example():
    """Return the variables that a shell reads from the example."""
    command = ["/bin/sh", "-euc", "set -a; . ./env.example; exec env -0"]
    read = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=True)
    assert read.stderr == ""
    pairs = dict(pair.split("=", 1) for pair in read.stdout.split("\0") if pair)
    return {name: value for name, value in pairs.items() if name not in {"PWD", "OLDPWD", "SHLVL", "_"}}


def test_the_example_has_no_duplicate_names():
    lines = (ROOT / "env.example").read_text(encoding="utf-8").splitlines()
    names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]

    assert sorted(names) == sorted(_example())


def test_the_example_lists_every_setting_with_its_default():
    example = _example()

    assert {name.upper() for name in Settings.model_fields} == {
        n for n in example if n.lower() in Settings.model_fields
    }
    for name, setting in Settings.model_fields.items():
        default = "" if setting.is_required() or setting.default is None else str(setting.default)
        assert example[name.upper()] == (default.lower() if setting.annotation is bool else default), name
    assert {name for name, setting in Settings.model_fields.items() if setting.is_required()} == SECRETS


def test_the_example_lists_gunicorns_variables_and_no_others():
    others = {name for name in _example() if name.lower() not in Settings.model_fields}

    assert others == set(re.findall(r"environ\.get\([\"'](\w+)", GUNICORN)) - {"TRUSTED_PROXIES"}


def _settings_behind():
    """Return the settings that each property and method of the settings reads, without validators."""
    (settings,) = (
        node for node in ast.parse(CONFIG.read_text(encoding="utf-8")).body if getattr(node, "name", "") == "Settings"
    )
    return {
        method.name: {node.attr for node in ast.walk(method) if isinstance(node, ast.Attribute)}
        for method in settings.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    }


def test_each_setting_is_read_outside_of_its_module():
    files = [path for path in (ROOT / "campshub").rglob("*.py") if path != CONFIG] + [ROOT / "migrations" / "env.py"]
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    read = set(re.findall(r"\.([a-z_]+)\b", sources))
    for name, behind in _settings_behind().items():
        read |= behind if name in read else set()
    read |= {f"postgres_{role}_{what}" for role in re.findall(r'database_url\("(\w+)"', sources) for what in ROLE}

    assert [name for name in Settings.model_fields if name not in read] == []


def test_the_example_names_the_limits_without_an_operation(app):
    counted = {limited.name for operation in operations(app) for limited in operation.endpoint.options.limits}
    example = (ROOT / "env.example").read_text(encoding="utf-8")
    listed = re.findall(r"^# .*; no operation counts in it yet\.\nRATE_LIMIT_(\w+)=", example, re.MULTILINE)

    assert {name.lower() for name in listed} == set(get_args(LimitName)) - counted


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_missing_secret_is_named_in_one_line(stack, database, name, monkeypatch):
    monkeypatch.delenv(name.upper(), raising=False)
    given = settings_of(stack, database).model_dump(exclude={name})

    with pytest.raises(SettingsError) as refusal:
        load_settings(**given)

    assert name.upper() in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_secret_is_read_from_the_file_named_in_the_environment(stack, database, monkeypatch, tmp_path):
    (tmp_path / "key").write_text("from the secret file\n", encoding="utf-8")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))

    assert (
        load_settings(**settings_of(stack, database).model_dump(exclude={"secret_key"})).secret_key
        == "from the secret file"
    )


def test_a_start_without_secrets_ends_with_one_line():
    done = subprocess.run(
        [sys.executable, "-c", "import wsgi"],
        cwd=ROOT,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def _issuers(**given):
    return json.dumps([{"issuer": "https://accounts.example.org", "audiences": ["ours"], **given}])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("not JSON", "OIDC_ISSUERS"),
        ("{}", "OIDC_ISSUERS"),
        (_issuers(audiences=[]), "audiences"),
        (_issuers(audience="ours"), "audience"),
        (_issuers(algorithms=["HS256"]), "algorithms"),
        (_issuers(algorithms=["none"]), "algorithms"),
        (_issuers(issuer="http://accounts.example.org"), "must be https"),
        (_issuers(jwks_uri="http://198.51.100.1/keys"), "must be https"),
        (_issuers(jwks_uri="file:///etc/passwd"), "must be https"),
        (_issuers(jwks_uri="https://accounts.example.org@198.51.100.1/keys"), "must be https"),
        (_issuers(jwks_uri="http://127.0.0.1/keys"), "must be https"),
        (f"{_issuers()[:-1]}, {_issuers()[1:]}", "twice"),
    ],
)
def test_an_untrustworthy_issuer_stops_the_start_with_one_line(stack, database, value, message):
    given = {**settings_of(stack, database).model_dump(), "oidc_issuers": value, "debug": False}

    with pytest.raises(SettingsError) as refusal:
        load_settings(**given)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_http_issuers_are_allowed_only_on_loopback_and_in_debug_mode(stack, database):
    given = settings_of(stack, database).model_dump()
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert load_settings(**{**given, "oidc_issuers": _issuers(jwks_uri=f"http://{host}/keys"), "debug": True})
    with pytest.raises(SettingsError):
        load_settings(**{**given, "oidc_issuers": _issuers(jwks_uri="http://10.0.0.1/keys"), "debug": True})


def test_a_worker_excludes_loaded_modules_from_garbage_collection():
    script = (
        "import gc, runpy, types; made = runpy.run_path('config/gunicorn.conf.py'); before = gc.get_freeze_count();"
        " made['post_worker_init'](types.SimpleNamespace(sockets=[])); print(gc.get_freeze_count() - before > 10_000)"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["True"]  # Python 3.12 freezes some objects at its start


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", ","),
        ("redis_url", "redis://:whisper@127.0.0.1:6379/0,127.0.0.1:6380"),
        ("redis_url", "redis://:whisper@127.0.0.1:port/0"),
        ("redis_url", "http://:whisper@127.0.0.1"),
        ("redis_url", "redis://"),
        ("celery_broker_url", "redis://:whisper@127.0.0.1:6379/0,redis://127.0.0.1:6380/0"),
    ],
)
def test_an_invalid_redis_url_stops_the_start_without_showing_its_password(stack, database, name, value):
    given = {**settings_of(stack, database).model_dump(), name: value}

    with pytest.raises(SettingsError) as refusal:
        load_settings(**given)

    assert name.upper() in str(refusal.value)
    assert "whisper" not in str(refusal.value)


IMPORTED = (
    "import os, campshub.core.observe.metrics as metrics; metrics.reads.labels('x').inc(); print(metrics.render())"
)


@pytest.mark.parametrize("module", ["campshub.core.observe.metrics", "campshub.core.jobs.worker", "celery_worker"])
def test_the_metrics_folder_is_created_and_an_empty_name_disables_it(stack, database, tmp_path, module):
    environment = {**stack.environment(database), "PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}
    script = f"import {module}; {IMPORTED}"

    def metrics_with(folder):
        given = {**environment, "PROMETHEUS_MULTIPROC_DIR": folder}
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert b"campshub_reads_total" in metrics_with("")
    assert list(tmp_path.iterdir()) == []
    assert b"campshub_reads_total" in metrics_with("not/yet/there")
    assert list((tmp_path / "not" / "yet" / "there").glob("counter_*.db"))


def test_prometheus_client_is_imported_where_its_folder_is_prepared():
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "campshub").rglob("*.py")
        if re.search(r"^\s*(from|import) prometheus_client", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert found == {"campshub/core/observe/prometheus.py"}
