import json
import re
import subprocess
import sys

import pytest

from campshub.config import Settings, SettingsError, load_settings
from tests.conftest import ROOT, settings_of

GUNICORN = (ROOT / "config" / "gunicorn.conf.py").read_text(encoding="utf-8")
SECRETS = {"postgres_password", "postgres_system_password", "secret_key", "jwt_private_keys", "field_encryption_keys"}


def _example():
    lines = (ROOT / "env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_names_every_setting_with_its_default():
    example = _example()

    assert {name.upper() for name in Settings.model_fields} == {
        n for n in example if n.lower() in Settings.model_fields
    }
    for name, setting in Settings.model_fields.items():
        default = "" if setting.is_required() or setting.default is None else str(setting.default)
        assert example[name.upper()] == (default.lower() if setting.annotation is bool else default), name
    assert {name for name, setting in Settings.model_fields.items() if setting.is_required()} == SECRETS


def test_the_example_names_what_gunicorn_reads_and_nothing_else():
    others = {name for name in _example() if name.lower() not in Settings.model_fields}

    assert others == set(re.findall(r"environ\.get\([\"'](\w+)", GUNICORN)) - {"TRUSTED_PROXIES"}


def test_every_setting_is_used():
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "campshub").rglob("*.py"))
    unused = [
        name
        for name in Settings.model_fields
        if not re.search(rf"\.{name}\b", sources) and not re.fullmatch(r"postgres_\w+_(user|password)", name)
    ]

    assert unused == []


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_missing_secret_is_named_in_one_line(stack, database, name, monkeypatch):
    monkeypatch.delenv(name.upper(), raising=False)
    given = settings_of(stack, database).model_dump(exclude={name})

    with pytest.raises(SettingsError) as refusal:
        load_settings(**given)

    assert name.upper() in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_secret_is_read_from_the_file_that_the_environment_names(stack, database, monkeypatch, tmp_path):
    (tmp_path / "key").write_text("from the secret file\n", encoding="utf-8")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))

    assert (
        load_settings(**settings_of(stack, database).model_dump(exclude={"secret_key"})).secret_key
        == "from the secret file"
    )


def test_the_start_without_secrets_ends_with_one_line():
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
    ("value", "says"),
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
def test_an_issuer_that_could_not_be_trusted_stops_the_start_in_one_line(stack, database, value, says):
    given = {**settings_of(stack, database).model_dump(), "oidc_issuers": value, "debug": False}

    with pytest.raises(SettingsError) as refusal:
        load_settings(**given)

    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_issuers_are_asked_by_http_on_loopback_alone_and_while_one_debugs(stack, database):
    given = settings_of(stack, database).model_dump()
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        assert load_settings(**{**given, "oidc_issuers": _issuers(jwks_uri=f"http://{host}/keys"), "debug": True})
    with pytest.raises(SettingsError):
        load_settings(**{**given, "oidc_issuers": _issuers(jwks_uri="http://10.0.0.1/keys"), "debug": True})


def test_a_worker_leaves_what_it_has_loaded_out_of_garbage_collection():
    script = (
        "import gc, runpy; made = runpy.run_path('config/gunicorn.conf.py'); before = gc.get_freeze_count();"
        " made['post_worker_init'](None); print(before, gc.get_freeze_count() > 10_000)"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["0", "True"]
