"""Check docker-compose.high-performance.yml: the compose specification's schema, and the project's own rules.

The schema is the one that the check-jsonschema package ships (Apache-2.0). No container is started.
"""

import importlib.resources
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
FILE = REPOSITORY / "docker-compose.high-performance.yml"
# The endings of variables that are secrets; PASSWORD_COST and the like are not.
SECRETS = ("PASSWORD", "SECRET_KEY", "_KEYS", "REDIS_URL", "BROKER_URL", "SMTP_URL")


def main() -> int:
    """Print one line per problem, and return 1 if there is one."""
    compose = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    wrong = [*_against_schema(compose), *_against_rules(compose), *_scripts()]
    for line in wrong:
        print(f"{FILE.name}: {line}", file=sys.stderr)
    if not wrong:
        print(f"{FILE.name}: {len(compose['services'])} services, accepted")
    return 1 if wrong else 0


def _against_schema(compose: Any) -> Iterator[str]:
    shipped = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(shipped.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    for error in validator.iter_errors(compose):
        yield f"{error.json_path}: {error.message}"


def _against_rules(compose: Any) -> Iterator[str]:
    for name, service in compose["services"].items():
        if service.get("restart") != "no" and "healthcheck" not in service:
            yield f"{name} has no health check"
        if not service.get("read_only") or "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} is not hardened"
        if "build" not in service and ":" not in service["image"]:
            yield f"{name} names no version of its image"
        for variable in service.get("environment", {}):
            if variable.endswith(SECRETS):
                yield f"{name} takes {variable} from the environment; use a file instead"
        for secret in service.get("secrets", []):
            if secret not in compose["secrets"]:
                yield f"{name} uses the unknown secret {secret}"
        yield from _mounts(name, service)


def _mounts(name: str, service: Any) -> Iterator[str]:
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith(".") and not (REPOSITORY / source).is_file():
            yield f"{name} mounts {source}, which does not exist"


def _scripts() -> Iterator[str]:
    for script in sorted((REPOSITORY / "deploy" / "compose").glob("*.sh")):
        done = subprocess.run(["/bin/sh", "-n", str(script)], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            yield f"{script.name}: {done.stderr.strip()}"


if __name__ == "__main__":
    sys.exit(main())
