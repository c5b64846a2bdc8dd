"""``flask cache``: what an operator may have to say to the caches, and nothing that they need to be right."""

from dataclasses import asdict
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import text

from campshub.core.cache import purge
from campshub.core.cache.popular import MOST_KEPT
from campshub.core.commands.options import json_option, say
from campshub.core.db.models import Base
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.http.warming import Warmer
from campshub.core.json import write
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.services import ServiceContainer

cache = AppGroup("cache", help="The cached answers and what they are told.")

# A commit that writes nothing leaves no record, and so no newer position, without a transaction id.
_LEAVE_A_RECORD = text("SELECT pg_current_xact_id()")
_ORGANIZATIONS = text("SELECT id FROM organizations ORDER BY id")


@cache.command("new-epoch")
def new_epoch() -> None:
    """Announce a change made past CampsHub, with psql for example: nothing cached before it is used any more.

    Example: flask cache new-epoch
    """
    with unit_of_work(system=True) as session:
        session.execute(epoch.ADD)
    _services().freshness.wait_out()
    click.echo("A new epoch has begun; answers are read anew.")


@cache.command("fold")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def fold(*, as_json: bool) -> None:
    """Fold the rows of writes that could not be stamped into the epoch's base.

    Example: flask cache fold
    """
    with unit_of_work(system=True) as session:
        rows, base = epoch.fold(session)
    click.echo(
        write({"folded": rows, "base": base}).decode() if as_json else f"Folded {rows} rows; the base is {base}."
    )


@cache.command("sweep")
@json_option
def sweep(*, as_json: bool) -> None:
    """Drop the stamps that nobody finds any more, since Redis was restarted or emptied, or a replica promoted.

    Example: flask cache sweep
    """
    try:
        swept = sum(purge.sweep(url) for url in _services().settings.redis_urls)
    except CacheUnavailable as away:
        raise click.ClickException("a cache Redis does not answer; `/health/` tells more.") from away
    say(as_json, f"Dropped {swept} names of former identities.", dropped=swept)


@cache.command("clear")
@click.option("--organization", type=click.UUID, help="This organization alone.")
@click.option("--tag", metavar="TAG", help="What is made of this family of tables alone.")
@click.option("--yes", is_flag=True, help="Do not ask, where it is about all organizations.")
def clear(*, organization: UUID | None, tag: str | None, yes: bool) -> None:
    """Drop cached answers: those of an organization, of a tag, or both; all of them where neither is named.

    Example: flask cache clear --organization 0190... --tag students
    """
    if organization is None and not yes:
        click.confirm("This drops cached answers of every organization. Go on?", abort=True)
    if organization is None and tag is None:
        _services().freshness.forget()
        click.echo("All cached answers are dropped; for 10 s everything is read from the primary.")
        return
    known = _tags()
    if tag is not None and tag not in known:
        raise click.ClickException(f"there is no tag {tag}; these are: {', '.join(known)}.")
    organizations = [organization] if organization else _organizations()
    for one in organizations:
        _raise(one, [tag] if tag else known)
    click.echo(f"Dropped the cached answers of {len(organizations)} organizations.")


@cache.command("warm")
@click.option("--organization", "organization_id", type=click.UUID, help="This organization alone.")
@click.option("--most", type=click.IntRange(1, MOST_KEPT), help="Of each organization; CACHE_WARM_MOST otherwise.")
@click.option("--per-second", type=click.FloatRange(0.1, 1_000), help="Answers made; CACHE_WARM_PER_SECOND otherwise.")
@json_option
def warm(*, organization_id: UUID | None, most: int | None, per_second: float | None, as_json: bool) -> None:
    """Make the answers that were asked most lately, for those who ask for them, before they do.

    It rests between two, leaves the primary alone where there are replicas, and ends early where something is busy.

    Example: flask cache warm --most 20 --per-second 5
    """
    settings = _services().settings
    warmer = Warmer(current_app, _services(), per_second or settings.cache_warm_per_second)
    done = warmer.warm(most=most or settings.cache_warm_most, organization_id=organization_id)
    said = f"Made {done.made} answers; {done.cached} were cached already, {done.refused} refused, {done.left} left."
    say(as_json, said if done.is_whole else f"{said} Others need the servers, so the rest was left.", **asdict(done))


def _tags() -> list[str]:
    return sorted({mapper.class_.__tag__ for mapper in Base.registry.mappers})


def _organizations() -> list[UUID]:
    with unit_of_work(system=True, read_only=True) as session:
        return list(session.scalars(_ORGANIZATIONS))


def _raise(organization: UUID, tags: list[str]) -> None:
    """Raise stamps as a write does, so that no key of before fits."""
    with unit_of_work(system=True, organization_id=organization) as session:
        session.execute(_LEAVE_A_RECORD)
        session.unit.stamped |= {(organization, tag) for tag in tags}


def _services() -> ServiceContainer:
    services: ServiceContainer = current_app.extensions["campshub"]
    return services
