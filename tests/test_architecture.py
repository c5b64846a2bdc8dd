"""Project rules that neither the linter nor the import contracts can check."""

import ast
import re
import subprocess
from pathlib import Path

import flask_migrate
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import campshub
from campshub.app import create_app
from campshub.core.db.models import Base
from campshub.core.http.decorators import needs, public
from campshub.core.http.endpoint import MissingPermission
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.modules import load_models
from tests.conftest import ROOT, settings_of

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40
MOST_STATEMENTS_OF_A_HANDLER = 5
# The top level of the repository. A new entry needs a reason: most files belong in one of these folders.
TOP_LEVEL = {
    *(".ci", ".dockerignore", ".editorconfig", ".github", ".gitignore", ".pre-commit-config.yaml"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("Dockerfile", "Makefile", "docker-compose.high-performance.yml", "env.example", "pyproject.toml"),
    *("requirements-dev.in", "requirements-dev.txt", "requirements.in", "requirements.txt"),
    *("nginx.conf", "pgbouncer.ini", "postgresql.conf", "redis.conf"),
    *("celery_worker.py", "wsgi.py"),
    *("bench", "campshub", "config", "deploy", "devstack", "docs", "migrations", "tests"),
}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "base2", "misc"}
# Code that needs these tables calls a SECURITY DEFINER function.
CLOSED = {
    "alerts",
    "exchanged_id_tokens",
    "external_identities",
    "organization_erasures",
    "password_resets",
    "recovery_codes",
    "sign_in_attempts",
    "totp_secrets",
    "user_credentials",
}
# The parts of core that write rows in SQL text; all others use ``core/db/writes.py`` or entities.
WRITERS = {"db", "freshness", "jobs", "partitions", "rollups"}
NOT_OURS = {"alembic_version", "epoch_base", "unstamped_writes"}

SOURCES = [path for folder in ("campshub", "devstack") for path in sorted((ROOT / folder).rglob("*.py"))]


def _trees():
    return [(path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


def _functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _endpoints(app):
    return [
        (rule, method, endpoint)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and rule.rule != "/api/openapi.json"
        for method, endpoint in app.view_functions[rule.endpoint].view_class.endpoints.items()
    ]


# Files ---------------------------------------------------------------------------------------------------------------


def test_the_top_level_has_only_the_listed_entries():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {path.split("/")[0] for path in tracked.splitlines()} == TOP_LEVEL


def test_files_are_short():
    lines = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}

    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_functions_are_short():
    long = {
        f"{path}:{f.name}": f.end_lineno - f.lineno + 1
        for path, tree in _trees()
        for f in _functions(tree)
        if f.end_lineno - f.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }

    assert long == {}


def test_names_of_files_and_classes_are_specific():
    files = {str(path.relative_to(ROOT)) for path in SOURCES if {path.stem, path.parent.name} & NAMES_THAT_SAY_NOTHING}
    classes = {
        f"{path}:{node.name}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Utils?|Helpers?|Manager|Common)$", node.name)
    }

    assert files | classes == set()


def test_modules_write_rows_only_through_core():
    written = set()
    for path, tree in _trees():
        if (path.parts[:2] == ("campshub", "core") and path.parts[2] in WRITERS) or path.parts[0] != "campshub":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                written |= {f"{path}: {a.name}" for a in node.names if a.name in {"insert", "update", "delete"}}
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.search(r"\b(INSERT INTO|UPDATE [a-z_]+ SET|DELETE FROM)\b", node.value)
                written |= {f"{path}: {found[0]}"} if found else set()

    assert written == set()


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_every_url_is_a_resource_whose_endpoints_declare_their_callers(app):
    endpoints = _endpoints(app)

    assert len(endpoints) > 10
    unmarked = [h.name for _, _, h in endpoints if (h.options.permission is None) == (not h.options.is_public)]
    assert unmarked == []


def test_an_endpoint_that_declares_no_callers_stops_the_start():
    blueprint = Blueprint("unmarked", __name__)

    class Silent(Resource):
        def get(self): ...

    class Torn(Resource):
        @public
        @needs(Permission.ME_READ)
        def get(self): ...

    for resource in (Silent, Torn):
        with pytest.raises(MissingPermission):
            blueprint.route("/")(resource)


def test_endpoints_that_read_do_not_use_flask(app):
    """The fast path calls them outside of a Flask request context (``core/http/fast_path.py``)."""
    reading = [endpoint for _, _, endpoint in _endpoints(app) if endpoint.reads and not endpoint.options.is_public]
    assert len(reading) > 10
    leaning = {
        endpoint.name
        for endpoint in reading
        for name in endpoint.function.__code__.co_names
        if getattr(endpoint.function.__globals__.get(name), "__module__", None) in {"flask.globals", "werkzeug.local"}
    }
    assert leaning == set()


def test_endpoints_are_thin(app):
    thick = {}
    for rule, method, endpoint in _endpoints(app):
        path = Path(endpoint.function.__code__.co_filename)
        line = endpoint.function.__code__.co_firstlineno
        tree = ast.parse(path.read_text(encoding="utf-8"))
        function = next(f for f in _functions(tree) if line in {f.lineno, *(d.lineno for d in f.decorator_list)})
        statements = sum(isinstance(node, ast.stmt) for part in function.body[1:] for node in ast.walk(part))
        if statements > MOST_STATEMENTS_OF_A_HANDLER:
            thick[f"{method} {rule.rule}"] = statements

    assert thick == {}


# Tables --------------------------------------------------------------------------------------------------------------


def test_every_table_has_a_tag():
    load_models()

    assert [m.class_.__name__ for m in Base.registry.mappers if not isinstance(m.class_.__tag__, str)] == []


KEYS = """
SELECT t.relname || '.' || c.conname, c.contype, f.relname,
       ARRAY(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY k(n, o) JOIN pg_attribute a
             ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY o),
       ARRAY(SELECT attname FROM unnest(c.confkey) WITH ORDINALITY k(n, o) JOIN pg_attribute a
             ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY o)
  FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid LEFT JOIN pg_class f ON f.oid = c.confrelid
 WHERE t.relnamespace = 'public'::regnamespace AND NOT t.relispartition AND c.contype IN ('p', 'u', 'f', 'x')
   AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname = 'organization_id')
"""


def test_the_organization_comes_first_in_every_key_of_a_tenant_table(sql):
    wrong = []
    for name, kind, _, own, others in sql(KEYS):
        leads = own[0] == "organization_id"
        # A row that the platform may own has a separate column for its owner.
        owned = own[0].endswith("_owner_id") and others[0] == "organization_id"
        to_global = kind == "f" and "organization_id" not in others
        if not (leads or owned or to_global):
            wrong.append((name, own))

    assert wrong == []


def test_references_between_tenant_tables_cannot_leave_the_organization(sql):
    tenants = {
        row[0]
        for row in sql(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE attname = 'organization_id'"
        )
    }
    loose = [
        (name, own)
        for name, kind, to, own, others in sql(KEYS)
        if kind == "f" and to in tenants and "organization_id" not in others
    ]

    assert loose == []


def test_unique_indexes_of_tenant_tables_start_with_the_organization(sql):
    found = sql(
        """
        SELECT i.indexrelid::regclass::text, a.attname FROM pg_index i
          JOIN pg_class t ON t.oid = i.indrelid
          LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
         WHERE t.relnamespace = 'public'::regnamespace AND i.indisunique AND NOT t.relispartition
           AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname = 'organization_id')
        """
    )

    assert [name for name, first in found if first != "organization_id"] == []


def test_every_reference_has_an_index_on_its_columns(sql):
    bare = sql(
        """
        SELECT c.conrelid::regclass::text || '.' || c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
         WHERE c.contype = 'f' AND NOT t.relispartition AND NOT EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
              AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
        """
    )

    assert bare == []


# Row-level security --------------------------------------------------------------------------------------------------


def test_policies_are_enabled_and_forced_on_every_table_and_partition(sql):
    found = sql(
        """
        SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
               (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)
          FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        """
    )

    assert len(found) > 20
    assert {name for name, forced, _ in found if not forced} == NOT_OURS
    assert {name for name, _, policies in found if not policies} == NOT_OURS | CLOSED


def test_partitions_have_the_policies_of_their_parents_and_no_grants(sql):
    found = sql(
        """
        WITH policies AS (
          SELECT polrelid, array_agg(polcmd::text || coalesce(pg_get_expr(polqual, polrelid), '')
                                     || coalesce(pg_get_expr(polwithcheck, polrelid), '') ORDER BY polname) AS rules
            FROM pg_policy GROUP BY polrelid)
        SELECT child.relname, own.rules = parents.rules,
               EXISTS (SELECT FROM aclexplode(child.relacl) g WHERE g.grantee <> child.relowner)
          FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid AND child.relkind IN ('r', 'p')
          LEFT JOIN policies own ON own.polrelid = inhrelid LEFT JOIN policies parents ON parents.polrelid = inhparent
        """
    )

    assert len(found) > 12
    assert [row for row in found if row[1:] != (True, False)] == []


def test_the_applications_roles_own_nothing_and_bypass_nothing(sql):
    found = {
        name: (superuser or bypasses or owns)
        for name, superuser, bypasses, owns in sql(
            """
            SELECT rolname, rolsuper, rolbypassrls,
                   EXISTS (SELECT FROM pg_class WHERE pg_has_role(r.oid, relowner, 'MEMBER'))
              FROM pg_roles r WHERE rolname IN ('campshub_app', 'campshub_readonly')
            """
        )
    }

    assert found == {"campshub_app": False, "campshub_readonly": False}


def test_views_run_with_the_rights_of_the_caller(sql):
    found = sql(
        """
        SELECT relname FROM pg_class c WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
           AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
        """
    )

    assert found == []


def test_functions_that_bypass_the_policies_are_restricted_and_have_a_fixed_search_path(sql):
    found = sql(
        """
        SELECT p.proname, p.prosecdef, pg_get_userbyid(p.proowner),
               EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=pg_catalog, public, pg_temp'),
               EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
          FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        """
    )

    definers = [row for row in found if row[1]]
    assert {row[0] for row in definers} >= {"enter", "credentials_of", "memberships_of", "search_students"}
    assert [row for row in definers if row[2:] != ("campshub_definer", True, False)] == []
    assert [row[0] for row in found if row[4]] == [], "everyone may call these"
    owner = sql("SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'campshub_definer'")
    assert owner == [(False, False)]


# Migrations ----------------------------------------------------------------------------------------------------------


SHAPE = """
SELECT 'table ' || c.relname || ' ' || coalesce(c.relacl::text, '') || c.relrowsecurity || c.relforcerowsecurity
  FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'i', 'I')
UNION ALL SELECT 'column ' || c.relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || attnotnull
  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'key ' || conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint
  WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function ' || oid::regprocedure || coalesce(proacl::text, '') FROM pg_proc
  WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'policy ' || tablename || policyname || cmd || coalesce(qual, '') || coalesce(with_check, '')
  FROM pg_policies WHERE schemaname = 'public'
"""


def _scripts():
    config = Config(str(ROOT / "migrations" / "alembic.ini"))
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config


def test_migrations_have_one_head_and_consecutive_numbers():
    scripts = ScriptDirectory.from_config(_scripts())
    found = [(script.revision, Path(script.path).name[:5]) for script in scripts.walk_revisions()]

    assert len(scripts.get_heads()) == 1
    assert found == [(f"{number:04}", f"{number:04}_") for number in range(len(found), 0, -1)]


def test_the_models_match_the_migrations(context):
    command.check(_scripts())  # raises where they differ


def test_migrations_downgrade_to_nothing_and_upgrade_again(stack, scratch):
    def shape():
        with stack.primary.connect(scratch) as connection:
            return {row[0] for row in connection.execute(SHAPE)}

    before = shape()
    with create_app(settings_of(stack, scratch)).app_context():
        flask_migrate.downgrade(directory=str(ROOT / "migrations"), revision="base")
        left = {line for line in shape() if re.match(r"(table|policy) |function (enter|ensure)", line)}
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))

    assert {line for line in left if "alembic_version" not in line and "pg_stat_statements" not in line} == set()
    assert shape() == before


def test_the_version_is_defined_once():
    assert f'version = "{campshub.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
