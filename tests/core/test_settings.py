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
