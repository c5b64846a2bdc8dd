"""A month is archived and restored without a change."""

from datetime import UTC, datetime, time

import fsspec
import pytest

from campshub.core import partitions
from campshub.core.dates import add_months
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.jobs import schedule
from campshub.core.jobs.registry import Run
from campshub.core.partitions import archive, restore, store, visibility
from campshub.core.partitions.store import Archives
from campshub.core.security.permissions import Role
from campshub.operations.tasks import maintenance
from tests.conftest import settings_of
from tests.core.partitions.conftest import site_of

KEYS = "k1:" + "A" * 43


@pytest.fixture(params=["", KEYS], ids=["plain", "sealed"])
def stored(request, stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path / "archive", archive_keys=request.param) as site:
        site.fill()
        yield site


def test_every_table_is_restored_unchanged(stored, tmp_path):
    before = {table: stored.contents(table) for table in stored.tables}
    assert len(before) == 5
    assert all(before.values())

    manifests = [stored.archived(table) for table in before]

    assert {table: stored.contents(table) for table in before} == {table: [] for table in before}
    assert {manifest.table: manifest.rows for manifest in manifests} == {t: len(rows) for t, rows in before.items()}
    files = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(files) == 2 * len(before)
    assert {path.parent.stat().st_mode & 0o077 for path in files} == {0}
    restored = [stored.restored(table) for table in before]
    assert {one.manifest.table: one.rows for one in restored} == {t: len(rows) for t, rows in before.items()}
    assert {table: stored.contents(table) for table in before} == before


def test_an_encrypted_archive_shows_no_value_and_needs_its_key(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path, archive_keys=KEYS) as site:
        site.fill()
        site.archived("attendance_records")
        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"\x1f\x8b" not in stored[:2]
    assert b"A" * 43 not in stored
    with (
        site_of(stack, scratch, tmp_path) as without,
        pytest.raises(restore.DamagedArchive, match="key k1, and ARCHIVE_KEYS is empty"),
    ):
        without.restored("attendance_records")


def test_a_restored_month_is_protected_like_a_new_one(site):
    shape = """
        SELECT c.relrowsecurity, c.relforcerowsecurity, c.relacl IS NULL, pg_get_expr(c.relpartbound, c.oid),
               (SELECT array_agg(pg_get_constraintdef(oid) ORDER BY pg_get_constraintdef(oid), 1)
                  FROM pg_constraint WHERE conrelid = c.oid),
               (SELECT array_agg(regexp_replace(indexdef, '(INDEX) \\S+', '\\1') ORDER BY 1)
                  FROM (SELECT indexdef FROM pg_indexes WHERE tablename = c.relname ORDER BY 1) i),
               (SELECT array_agg(policyname || cmd || qual || with_check) FROM pg_policies WHERE tablename = c.relname)
          FROM pg_class c WHERE c.relname = %s
    """
    for table in site.tables:
        before = site.sql(shape, site.name(table))
        site.archived(table)
        site.restored(table)
        assert site.sql(shape, site.name(table)) == before


def test_a_detached_month_is_accessible_only_to_the_owner(site):
    seen = []

    def on_stage(stage):
        if stage == archive.DETACHED:
            seen.extend(
                site.sql(
                    "SELECT relrowsecurity AND relforcerowsecurity, relacl IS NULL,"
                    " has_table_privilege('campshub_app', oid, 'SELECT, INSERT, UPDATE, DELETE'),"
                    " has_table_privilege('campshub_readonly', oid, 'SELECT') FROM pg_class WHERE relname = %s",
                    site.name("attendance_records"),
                )
            )

    site.archived("attendance_records", on_stage)

    assert seen == [(True, True, False, False)]


def test_columns_added_and_dropped_meanwhile_do_not_prevent_a_restore(site):
    before = site.contents("attendance_records")
    site.archived("attendance_records")
    site.sql("ALTER TABLE attendance_records ADD COLUMN mood text NOT NULL DEFAULT 'calm'")
    site.sql("ALTER TABLE attendance_records DROP COLUMN note")

    restored = site.restored("attendance_records")

    assert restored.columns == ["note"]
    after = site.sql("SELECT to_jsonb(t) - 'mood', mood FROM attendance_records t ORDER BY id")
    assert {mood for _, mood in after} == {"calm"}
    assert len(after) == len(before)
    assert all("note" not in row for row, _ in after)


def test_a_month_can_be_stored_at_any_fsspec_url(stack, scratch):
    with site_of(stack, scratch, "memory://far/away") as site:
        site.fill()
        before = site.contents("workout_sets")
        site.archived("workout_sets")
        assert [path.rpartition("/")[2] for path in fsspec.filesystem("memory").find("/far/away")] == [
            "manifest.json",
            "rows.csv.gz",
        ]
        site.restored("workout_sets")
        assert site.contents("workout_sets") == before


def test_a_month_that_was_changed_after_its_restore_is_archived_again(site):
    first = site.archived("attendance_records")
    site.restored("attendance_records")
    site.sql("UPDATE attendance_records SET minutes = 7 RETURNING 1")
    changed = site.contents("attendance_records")

    second = site.archived("attendance_records")
    site.restored("attendance_records")

    assert first.id < second.id
    assert site.contents("attendance_records") == changed


def test_erased_rows_are_not_restored(site):
    gone, stays = site.tenants
    before = [row for row in site.contents("attendance_records") if str(stays.id) in row]
    site.archived("attendance_records")
    with site.stack.primary.connect(site.database) as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM organizations WHERE id = %s", (gone.id,))

    restored = site.restored("attendance_records")

    assert restored.erased == restored.manifest.rows - restored.rows == 7
    assert site.contents("attendance_records") == before


def test_rows_with_missing_references_are_reported(site):
    before = site.contents("attendance_records")
    site.archived("attendance_records")
    one = site.sql("SELECT id FROM students ORDER BY id LIMIT 1")[0][0]
    with site.stack.primary.connect(site.database) as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM students WHERE id = %s", (one,))

    with pytest.raises(restore.DeletedReferences, match=r"1 rows .*fk_attendance_records_student_id: 1"):
        site.restored("attendance_records")
    assert not site.exists("attendance_records")
    restored = site.restored("attendance_records", leave_out=True)

    assert restored.without["fk_attendance_records_student_id"] == 1
    assert site.contents("attendance_records") == [row for row in before if str(one) not in row]


def test_an_existing_month_is_not_overwritten_by_a_restore(site):
    site.archived("attendance_records")
    site.restored("attendance_records")

    with pytest.raises(restore.MonthInDatabase):
        site.restored("attendance_records")


def test_a_current_or_missing_month_is_not_archived(site):
    with site.maintenance() as connection:
        for month, refusal in (
            (site.month.replace(year=2011), archive.NoSuchMonth),
            (site.month.replace(year=2099), archive.MonthNotOver),
        ):
            with pytest.raises(refusal):
                archive.archive(site.services, connection, table="attendance_records", month=month)


def test_old_months_are_due_and_none_without_a_retention_setting(site):
    today = site.day
    with site.maintenance() as connection:
        assert archive.due(connection, today=today, settings=site.services.settings) == []
        partitions.ensure(connection, "audit_log", add_months(today, -18), today)
        cache_policy = site.services.settings.model_copy(update={"retention_months": 16})
        found = archive.due(connection, today=today, settings=cache_policy)
    assert found == [("audit_log", add_months(today, -18)), ("audit_log", add_months(today, -17))]


@pytest.mark.parametrize("at_once", [1, 1_000])
def test_reads_see_at_once_that_a_month_was_archived_or_restored(site, trust, at_once, monkeypatch):
    monkeypatch.setattr(visibility, "AT_ONCE", at_once)  # organizations per call
    url = f"/api/attendance/records/?from={site.day}&to={site.day}"
    apis = [tenant.the(Role.ADMIN) for tenant in site.tenants]

    def shown():
        return [len(api.get(url).json["items"]) for api in apis]

    trust(site.app)
    assert shown() == [7, 7]
    assert [api.get(url).queries for api in apis] == [[], []]  # cached
    site.archived("attendance_records")
    assert shown() == [0, 0]
    assert [api.get(url).queries for api in apis] == [[], []]
    site.restored("attendance_records")
    assert shown() == [7, 7]


def test_without_redis_the_epoch_shows_that_a_month_was_archived(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path, redis_url="redis://127.0.0.1:1/0") as site:
        site.fill()
        (before,) = site.sql("SELECT freshness_epoch()")
        site.archived("workout_sets")
        (archived,) = site.sql("SELECT freshness_epoch()")
        site.restored("workout_sets")
        (restored,) = site.sql("SELECT freshness_epoch()")

    assert before < archived < restored


def test_an_invalid_archive_url_is_reported_in_one_line(stack, database):
    with pytest.raises(store.NoArchiveFolder, match="ARCHIVE_URL cannot be used: ") as error:
        Archives(settings_of(stack, database, archive_url="nowhere://a/b"))

    assert "\n" not in str(error.value)


def test_invalid_archive_settings_are_refused(stack, database):
    from campshub.config import SettingsError  # noqa: PLC0415 - this test alone

    for wrong in ({"archive_keys": "k1:short"}, {"retention_months": 3}, {"retention_months": 30_000}):
        with pytest.raises(SettingsError):
            settings_of(stack, database, **wrong)
    assert Archives(settings_of(stack, database)).all() == []


def test_the_schedule_creates_months_and_archives_those_past_retention(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path, retention_months=15) as site:
        assert {"partitions.ensure", "partitions.archive"} <= {entry.job for entry in schedule.entries()}
        today = add_months(site.month, 5)
        run = Run(site.services, PLATFORM_ID, new_id(), "any", {}, 1, 1, datetime.combine(today, time(), UTC))
        with site.maintenance() as connection:
            newest = site.name("audit_log").replace(f"{site.month:%Y_%m}", f"{add_months(today, 6):%Y_%m}")
            site.sql(f"DROP TABLE {newest}")
            maintenance.ensure_months(connection, run)
            assert site.sql("SELECT to_regclass(%s) IS NOT NULL", newest) == [(True,)]
            with site.app.app_context():
                assert Archives(site.services.settings).all() == []
                partitions.ensure(connection, "audit_log", add_months(today, -17), today)
                maintenance.archive_months(connection, run)
                archived = Archives(site.services.settings).months("audit_log")

    assert archived == {add_months(today, -16), add_months(today, -17)}
