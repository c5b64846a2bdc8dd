"""``flask cache``: operate the cache. None of it is needed for correct responses, except after changes from outside."""

from dataclasses import asdict
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import text

from campshub.core.cache import purge
from campshub.core.cache.popular import MOST_STORED
from campshub.core.commands.options import json_option, say
from campshub.core.db.models import Base
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.http.warming import Warmer
from campshub.core.json import write
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.services import ServiceContainer

cache = AppGroup("cache", help="Cached responses and the epoch.")

# A transaction that writes nothing needs a transaction id to leave a WAL record, and so a newer LSN.
_ASSIGN_TRANSACTION_ID = text("SELECT pg_current_xact_id()")
_ORGANIZATIONS = text("SELECT id FROM organizations ORDER BY id")


@cache.command("new-epoch")
def new_epoch() -> None:
    """Invalidate everything cached, after a change made outside of CampsHub, for example with psql.

    Example: flask cache new-epoch
    """
    with unit_of_work(system=True) as session:
        session.execute(epoch.ADD)
    _services().freshness.wait_for_leases()
    click.echo("A new epoch has begun; everything cached before it is ignored.")


@cache.command("fold")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fold(*, as_json: bool) -> None:
    """Fold the rows of unstamped writes into the epoch's base.

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
    """Delete the keys of former identities, left by a Redis restart, a flush or a promoted replica.

    Example: flask cache sweep
    """
    try:
        swept = sum(purge.purge_former_identities(url) for url in _services().settings.redis_urls)
    except CacheUnavailable as error:
        raise click.ClickException("a cache Redis does not respond; see `/health/`.") from error
    say(as_json, f"Deleted {swept} keys of former identities.", dropped=swept)


@cache.command("clear")
@click.option("--organization", type=click.UUID, help="Only this organization.")
@click.option("--tag", metavar="TAG", help="Only responses from this family of tables.")
@click.option("--yes", is_flag=True, help="Do not ask before clearing all organizations.")
def clear(*, organization: UUID | None, tag: str | None, yes: bool) -> None:
    """Invalidate cached responses of an organization, of a tag, or of both; all of them by default.

    Example: flask cache clear --organization 0190... --tag students
    """
    if organization is None and not yes:
        click.confirm("This invalidates the cached responses of every organization. Continue?", abort=True)
    if organization is None and tag is None:
        _services().freshness.forget()
        click.echo("All cached responses are invalid; for 10 s all reads go to the primary.")
        return
    known = _tags()
    if tag is not None and tag not in known:
        raise click.ClickException(f"there is no tag {tag}; the tags are: {', '.join(known)}.")
    organizations = [organization] if organization else _organizations()
    for one in organizations:
        _raise_stamps(one, [tag] if tag else known)
    click.echo(f"Invalidated the cached responses of {len(organizations)} organizations.")


@cache.command("warm")
@click.option("--organization", "organization_id", type=click.UUID, help="Only this organization.")
@click.option("--most", type=click.IntRange(1, MOST_STORED), help="Per organization; default: CACHE_WARM_MOST.")
@click.option("--per-second", type=click.FloatRange(0.1, 1_000), help="Responses; default: CACHE_WARM_PER_SECOND.")
@json_option
def warm(*, organization_id: UUID | None, most: int | None, per_second: float | None, as_json: bool) -> None:
    """Render the most requested recent responses into the cache, for the views that request them.

    It pauses between two, does not use the primary if there are replicas, and stops early if a server is busy.

    Example: flask cache warm --most 20 --per-second 5
    """
    settings = _services().settings
    warmer = Warmer(current_app, _services(), per_second or settings.cache_warm_per_second)
    done = warmer.warm(most=most or settings.cache_warm_most, organization_id=organization_id)
    counts = f"{done.cached} were cached already, {done.refused} refused, {done.left} left"
    sentence = f"Computed {done.made} responses; {counts}."
    say(as_json, sentence if done.is_whole else f"{sentence} Stopped early: a server is busy.", **asdict(done))


def _tags() -> list[str]:
    return sorted({mapper.class_.__tag__ for mapper in Base.registry.mappers})


def _organizations() -> list[UUID]:
    with unit_of_work(system=True, read_only=True) as session:
        return list(session.scalars(_ORGANIZATIONS))


def _raise_stamps(organization: UUID, tags: list[str]) -> None:
    """Raise stamps as a write does, so that no earlier cached response is used."""
    with unit_of_work(system=True, organization_id=organization) as session:
        session.execute(_ASSIGN_TRANSACTION_ID)
        session.unit.stamped |= {(organization, tag) for tag in tags}


def _services() -> ServiceContainer:
    services: ServiceContainer = current_app.extensions["campshub"]
    return services
