"""Statements of the documents with "every", "only" or "none", compared with the application."""

import re

import campshub
from campshub.config import Settings
from campshub.core.db.engine import engine_config
from campshub.core.http.schemas.fields import Out
from campshub.core.jobs import registry, schedule
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, ROOT, Client
from tests.document import openapi_document
from tests.surface import body_for, operations

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
GUNICORN = ROOT / "config" / "gunicorn.conf.py"
COMPOSE = (ROOT / "docker-compose.high-performance.yml").read_text(encoding="utf-8")
ADDRESS = re.compile(r"`(/api/[\w/{}-]+/)`")
# A response that contains one of these shows rows.
NESTED = ("items", "mark")
# The operations that each word of the sentence on If-Match means.
UNCOMPARED = {
    "API keys": "/api/api-keys/{id}/",
    "identities": "/api/auth/oidc/identities/{id}/",
    "invitations": "/api/invitations/{id}/",
    "jobs": "/api/jobs/{id}/",
    "sign-in sessions": "/api/auth/sessions/{id}/",
    "second factors": "/api/auth/mfa/",
}


def chapter(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def address_of(operation) -> str:
    return re.sub(r"<uuid:\w+>", "{id}", operation.rule)


def creates_of(app):
    """Return the operations that create a row, with whether they accept an id and an Idempotency-Key."""
    return {
        address_of(o): ("id" in o.endpoint.options.body._declared_fields, o.endpoint.takes_key)
        for o in operations(app)
        if o.method == "POST" and o.endpoint.options.status in (201, 202) and not o.endpoint.options.is_public
    }


def shows_a_version(schema: type[Out] | Out) -> bool:
    fields = (schema() if isinstance(schema, type) else schema).fields
    nested = [getattr(fields[name], "inner", fields[name]) for name in NESTED if name in fields]
    return "version" in fields or any(shows_a_version(field.schema) for field in nested)


def test_the_page_lists_which_creates_accept_an_id_and_a_key(app):
    rows = [line.strip("| ").split(" | ") for line in chapter("Retries").splitlines() if line.startswith("| `/api/")]
    stated = {url: (row[1] == "yes", row[2] == "yes") for row in rows for url in ADDRESS.findall(row[0])}

    assert stated == creates_of(app)


def test_the_page_lists_where_a_key_is_ignored(app):
    posts = {address_of(o): o.endpoint.takes_key for o in operations(app) if o.method == "POST"}
    creates = creates_of(app)
    ignoring = {url for url, takes_key in posts.items() if not takes_key and url not in creates}

    assert "under `/api/auth/` but for\n  `logout/` and `logout/everywhere/`, by `/api/invitations/accept/`" in PAGE
    assert ignoring == {
        *(a for a in posts if a.startswith("/api/auth/") and a not in creates and "/logout/" not in a),
        "/api/invitations/accept/",
        "/api/students/{id}/check-in-code/",
    }


def test_the_document_describes_the_key_only_where_it_counts(app):
    described = openapi_document()["paths"]
    named = {
        f"{method.upper()} {path}"
        for path, item in described.items()
        for method, operation in item.items()
        if method != "parameters" and "Idempotency-Key" in {p.get("name") for p in operation.get("parameters", ())}
    }

    takes = {o.described for o in operations(app) if o.endpoint.takes_key}
    assert named == takes


def test_a_key_is_ignored_where_the_document_does_not_describe_it(app, api, tenant):
    key = {"Idempotency-Key": "one"}
    user = body_for(
        next(o for o in operations(app) if o.name == "POST /api/users/").endpoint.options.body, lambda _: None
    )
    sign_in = {"email": tenant.someone(Role.CLIENT).get("/api/me/").json["email"], "password": PASSWORD}

    first, second = (api.post("/api/users/", user, headers=key) for _ in range(2))
    tokens = [Client(app).post("/api/auth/token/", sign_in, headers=key) for _ in range(2)]

    assert (first.status, second.status, second.problem["code"]) == (201, 409, "email_taken")
    assert len({token.json["refresh_token"] for token in tokens}) == 2
    assert "Idempotent-Replayed" not in {name for response in (second, *tokens) for name, _ in response.headers}


def test_the_page_lists_which_reads_have_no_version(app):
    bare = chapter("Versions").partition("`If-Match`")[0]
    reads = {address_of(o): o.endpoint.options for o in operations(app) if o.method == "GET"}

    without = {a for a, options in reads.items() if options.answer is None or not shows_a_version(options.answer)}
    assert set(ADDRESS.findall(bare)) == without


def test_the_page_lists_which_changes_compare_the_version(app):
    compared = {o.name: o.endpoint.compares_version for o in operations(app) if o.method != "GET"}
    sentence = re.search(r"by `DELETE`, except of ([^.]+)\.", chapter("Versions").replace("\n", " "))
    deletes = {address_of(o) for o in operations(app) if o.method == "DELETE" and not o.endpoint.compares_version}

    assert {UNCOMPARED[name] for name in re.split(r", | and ", sentence[1])} == deletes
    assert all(is_compared for name, is_compared in compared.items() if name.startswith(("PATCH ", "PUT ")))
    posts = {name.rpartition(">/")[2] for name, is_compared in compared.items() if name[:4] == "POST" and is_compared}
    assert posts == {"submit/", "lock/", "reopen/", "approve/", "reject/", "cancel/", "move/", "change/", "end/"}


def test_the_page_lists_which_lists_are_not_paged(app):
    responses = {
        address_of(o): o.endpoint.options for o in operations(app) if o.method == "GET" and o.endpoint.options.answer
    }
    whole = {
        url
        for url, options in responses.items()
        if not options.is_page and {"items"} <= options.answer().fields.keys() <= {"items", "next_cursor", "has_more"}
    }
    sentence = re.search(r"come whole, without these parameters: ([^.]+)\.", chapter("Lists"))

    assert set(ADDRESS.findall(sentence[1])) == whole


def test_the_page_lists_what_can_be_undeleted(app):
    sentence = re.search(r"\nThe rows of ([^.]+) can be deleted and undeleted\.", chapter("Lists"))
    brought_back = {address_of(o).removesuffix("{id}/undelete/") for o in operations(app) if "/undelete/" in o.rule}

    assert set(ADDRESS.findall(sentence[1])) == brought_back


def test_the_guide_for_operators_lists_the_schedule(app):
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([^|]+) \|", guide, re.MULTILINE)

    ours = {entry.job: str(entry.when) for entry in schedule.entries() if _is_of_the_product(entry.job)}
    assert dict(rows) == ours


def _is_of_the_product(job):
    """Return whether a job is not one that another test has registered."""
    definition = registry.definition_of(job)
    return definition is not None and definition.function.__module__.startswith("campshub.")


def test_only_health_and_the_document_show_the_version(app, api):
    places = (
        "/api/openapi.json",
        "/docs/",
        "/live/",
        "/ready/",
        "/health/",
        "/metrics/",
        "/api/students/",
        "/nothing/",
    )
    responses = {place: (api if place.startswith("/api/st") else Client(app)).get(place) for place in places}

    shown = {
        place for place, response in responses.items() if campshub.__version__ in response.raw.get_data(as_text=True)
    }
    assert shown == {"/health/", "/api/openapi.json"}
    named = re.compile(rf"{re.escape(campshub.__version__)}|(?:python|gunicorn|flask|werkzeug)/?[0-9]", re.IGNORECASE)
    assert [value for response in responses.values() for _, value in response.headers if named.search(value)] == []


def names_in(requirements: str) -> set[str]:
    """Return the packages that a file requires, with extras as names of their own."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / requirements).read_text(encoding="utf-8").splitlines()]
    found = [re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line) for line in lines if line and not line.startswith("-r")]
    return {name.lower() for match in found for name in (match[1], *(match[2] or "").split(",")) if name} - {"binary"}


def test_each_library_is_described_once():
    page = (ROOT / "docs" / "decisions" / "dependencies.md").read_text(encoding="utf-8").lower()
    fixed = page.partition("## fixed by the plan")[2].partition("\n\n")[0]
    cells = [name for cell in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE) for name in cell.split(", ")]
    listed = {*re.findall(r"[\w-]+", fixed), *cells}

    required = names_in("requirements.in") | names_in("requirements-dev.in")
    assert required - listed == set()
    assert set(cells) - required == {"library", "---"}


def test_pgbouncer_has_connections_for_the_number_of_processes_that_it_states(settings):
    config = engine_config(settings.model_copy(update={"db_pool_size": Settings.model_fields["db_pool_size"].default}))
    pools = (config["SQLALCHEMY_ENGINE_OPTIONS"], config["SQLALCHEMY_BINDS"]["system"])
    text = (ROOT / "pgbouncer.ini").read_text(encoding="utf-8")
    limit = int(re.search(r"^max_client_conn = (\d+)$", text, re.MULTILINE)[1])
    workers = int(re.search(r'GUNICORN_WORKERS"\) or (\d+)', GUNICORN.read_text(encoding="utf-8"))[1])

    of_process = sum(pool["pool_size"] + pool["max_overflow"] for pool in pools) + 1  # the connection of the lease
    comment = text.replace("\n; ", " ")
    stated = re.search(
        r"holds at most (\d+) .*an API server of (\d+) processes (\d+): ([\d,]+) are (\d+) servers", comment
    )
    assert (of_process, workers, of_process * workers, limit, limit // (of_process * workers)) == tuple(
        int(figure.replace(",", "")) for figure in stated.groups()
    )
    nofile = re.search(r"ulimits: \{ nofile: (\d+) \}", COMPOSE.partition("x-pgbouncer:")[2])
    assert int(nofile[1]) > limit + 100
