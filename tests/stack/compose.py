"""Read what compose and the Dockerfile run from the shipped files."""

import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

FILE = ROOT / "docker-compose.high-performance.yml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:?)([-?+])([^}]*))?\}")


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Replace ``$$`` and ``${NAME:-default}`` as compose does (the specification's section "Interpolation")."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, colon, kind, other = found.groups()
        is_there = bool(variables.get(name)) if colon else name in variables
        if kind == "+":
            return other if is_there else ""
        if is_there or kind is None:
            return variables.get(name, "")
        assert kind == "-", f"{name} is missing: {other}"
        return other

    return _VARIABLE.sub(value, text)


def interpolated(thing: Any, variables: dict[str, str]) -> Any:
    """Replace variables in all values of a document."""
    if isinstance(thing, dict):
        return {name: interpolated(value, variables) for name, value in thing.items()}
    if isinstance(thing, list):
        return [interpolated(value, variables) for value in thing]
    return interpolate(thing, variables) if isinstance(thing, str) else thing


def read(variables: dict[str, str]) -> dict[str, Any]:
    """Return the compose file as compose reads it with these variables."""
    return interpolated(yaml.safe_load(FILE.read_text(encoding="utf-8")), variables)


@dataclass(frozen=True)
class Image:
    """The content of an image: its user, folder, environment and command."""

    uid: int
    gid: int
    user: str
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    command: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # owned by its user


POSTGRES_DATA = "/var/lib/postgresql/18/docker"  # as in the official image of 18
OFFICIAL = {
    "postgres": Image(999, 999, "postgres", {"PGDATA": POSTGRES_DATA, "LANG": "en_US.utf8"}),
    "redis": Image(999, 1000, "redis", workdir="/data"),
    "nginx": Image(101, 101, "nginx"),
}


def _dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def dockerfile(target: str) -> Image:
    """Return the image of a target of the Dockerfile."""
    stage = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", _dockerfile(), re.MULTILINE | re.DOTALL)[1]
    lines = [line.split(maxsplit=1) for line in stage.splitlines() if line and not line.startswith("#")]
    instructions = dict(lines)
    variables = dict(pair.split("=", 1) for word, rest in lines if word == "ENV" for pair in shlex.split(rest))
    if target == "web":
        uid, gid = (int(re.search(rf"--{kind}id (\d+)", stage)[1]) for kind in "ug")
    else:
        uid, gid = OFFICIAL["postgres"].uid, OFFICIAL["postgres"].gid
    made = re.search(r"install --directory (.*)", stage)
    return Image(
        uid,
        gid,
        instructions["USER"],
        variables,
        instructions["WORKDIR"],
        tuple(re.findall(r'"((?:[^"\\]|\\.)*)"', instructions["CMD"])),
        tuple(re.findall(r" (/\S+)", made[1])) if made else (),
    )


def image_of(service: dict[str, Any]) -> Image:
    """Return the image that a service runs."""
    if "build" in service:
        return dockerfile(service["build"]["target"])
    return OFFICIAL[service["image"].partition(":")[0]]


def copied_programs() -> dict[str, Path]:
    """Return the scripts that the Dockerfile copies into /usr/local/bin."""
    copied = re.findall(r"^COPY --chmod=0755 (\S+) /usr/local/bin/(\S+)$", _dockerfile(), re.MULTILINE)
    return {name: ROOT / source for source, name in copied}


def copy_context(folder: Path) -> None:
    """Copy the files of ``COPY . .``: .dockerignore excludes everything except the files that it names."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    left_out = shutil.ignore_patterns(*(line.removeprefix("**/") for line in lines if line.startswith("**/")))
    for source in (path for line in lines if line.startswith("!") for path in ROOT.glob(line[1:])):
        to = folder / source.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to, ignore=left_out)
        else:
            shutil.copy(source, to)
