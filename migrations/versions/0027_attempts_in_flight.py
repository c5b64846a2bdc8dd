"""Attempts to sign in that are in flight take places, and count as failed only when they have failed.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# The row of a key, locked; what is too old is forgotten. An attempt that was never settled (its process was killed)
# gives its place back after a minute: no request lasts as long.
ATTEMPTS_OF = """
CREATE FUNCTION attempts_of(counted bytea, forgets interval, OUT is_held boolean, OUT failures int, OUT in_flight int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO sign_in_attempts AS a (key, failures, last_at) VALUES (counted, 0, now())
  ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN a.last_at < now() - forgets AND (a.held_until IS NULL OR a.held_until <= now())
               THEN 0 ELSE a.failures END,
    pending = ARRAY(SELECT p FROM unnest(a.pending) p WHERE p > now() - INTERVAL '1 minute')
  RETURNING coalesce(held_until > now(), false), failures, cardinality(pending)
$$
"""

# A key that is not held has as many places as failures are left, and one once a delay is over. Where a key has none,
# the attempt takes none of the other either. A held key gives no place, or repeated tries would hold it for ever. Every
# function takes the account before the address, so that no two wait for each other crosswise.
BEGIN_SIGN_IN = """
CREATE FUNCTION begin_sign_in(wanted_email_key text, account bytea, account_allowed int, place bytea, place_allowed int)
  RETURNS TABLE (user_id uuid, status text, session_version int, password_hash text, account_is_held boolean,
    place_is_held boolean, is_full boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  own record;
  shared record;
BEGIN
  SELECT * INTO own FROM attempts_of(account, INTERVAL '1 day');
  SELECT * INTO shared FROM attempts_of(place, INTERVAL '1 hour');
  account_is_held := own.is_held;
  place_is_held := shared.is_held;
  is_full := (NOT own.is_held AND own.in_flight >= greatest(1, account_allowed - own.failures))
    OR (NOT shared.is_held AND shared.in_flight >= greatest(1, place_allowed - shared.failures));
  IF NOT is_full THEN
    UPDATE sign_in_attempts SET pending = pending || clock_timestamp(), last_at = now()
     WHERE key = account AND NOT own.is_held;
    UPDATE sign_in_attempts SET pending = pending || clock_timestamp(), last_at = now()
     WHERE key = place AND NOT shared.is_held;
  END IF;
  RETURN QUERY
    SELECT u.id, u.status, u.session_version, c.password_hash, account_is_held, place_is_held, is_full
      FROM (SELECT) one
      LEFT JOIN users u ON u.email_key = wanted_email_key
      LEFT JOIN user_credentials c ON c.user_id = u.id;
END $$
"""

RELEASE_SIGN_IN = """
CREATE FUNCTION release_sign_in(account bytea, place bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE sign_in_attempts SET pending = pending[2:] WHERE key = account;
  UPDATE sign_in_attempts SET pending = pending[2:] WHERE key = place;
$$
"""

END_SIGN_IN = """
CREATE FUNCTION end_sign_in(account bytea, place bytea, person uuid, upgraded text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE sign_in_attempts SET failures = 0, held_until = NULL, pending = pending[2:] WHERE key = account;
  DELETE FROM sign_in_attempts WHERE key = account AND pending = '{}';
  UPDATE sign_in_attempts SET pending = pending[2:] WHERE key = place;
  UPDATE user_credentials SET password_hash = upgraded WHERE user_id = person AND upgraded IS NOT NULL;
$$
"""

COUNT_FAILURE = """
CREATE FUNCTION count_failure(counted bytea, allowed int, first_s int, longest_s int) RETURNS int
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO sign_in_attempts AS a (key, failures, last_at, held_until)
  SELECT counted, 1, now(), CASE WHEN allowed <= 1 THEN now() + first_s * INTERVAL '1 second' END
   WHERE counted IS NOT NULL
  ON CONFLICT (key) DO UPDATE SET failures = a.failures + 1, last_at = now(), pending = a.pending[2:],
    held_until = CASE WHEN a.failures + 1 >= allowed
      THEN now() + least(longest_s, first_s * 2 ^ least(a.failures + 1 - allowed, 20)) * INTERVAL '1 second'
      END
  RETURNING failures
$$
"""

FAIL_SIGN_IN = """
CREATE FUNCTION fail_sign_in(account bytea, account_allowed int, place bytea, place_allowed int, first_s int,
  longest_s int) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE failures int;
BEGIN
  failures := count_failure(account, account_allowed, first_s, longest_s);
  PERFORM count_failure(place, place_allowed, first_s, longest_s);
  RETURN failures;
END $$
"""

FUNCTIONS = {
    "attempts_of(bytea, interval)": ATTEMPTS_OF,
    "begin_sign_in(text, bytea, int, bytea, int)": BEGIN_SIGN_IN,
    "release_sign_in(bytea, bytea)": RELEASE_SIGN_IN,
    "end_sign_in(bytea, bytea, uuid, text)": END_SIGN_IN,
    "count_failure(bytea, int, int, int)": COUNT_FAILURE,
    "fail_sign_in(bytea, int, bytea, int, int, int)": FAIL_SIGN_IN,
}

OLD_COUNT_ATTEMPT = """
CREATE FUNCTION count_attempt(counted bytea, allowed int, first_s int, longest_s int, forgets interval,
  OUT is_held boolean, OUT failures int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO sign_in_attempts AS a (key, failures, last_at, held_until)
  VALUES (counted, 1, now(), CASE WHEN allowed <= 1 THEN now() + first_s * INTERVAL '1 second' END)
  ON CONFLICT (key) DO UPDATE SET (failures, last_at, held_until) = (
    SELECT n.failures, now(), CASE WHEN n.failures >= allowed
           THEN now() + least(longest_s, first_s * 2 ^ least(n.failures - allowed, 20)) * INTERVAL '1 second' END
      FROM (SELECT CASE WHEN a.last_at < now() - forgets THEN 1 ELSE a.failures + 1 END AS failures) n
     WHERE a.held_until IS NULL OR a.held_until <= now()
    UNION ALL SELECT a.failures, a.last_at, a.held_until WHERE a.held_until > now())
  RETURNING coalesce(old.held_until > now(), false), new.failures
$$
"""

OLD_BEGIN_SIGN_IN = """
CREATE FUNCTION begin_sign_in(wanted_email_key text, account bytea, account_allowed int, place bytea, place_allowed int,
  first_s int, longest_s int)
  RETURNS TABLE (user_id uuid, status text, session_version int, password_hash text, is_held boolean, failures int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT u.id, u.status, u.session_version, c.password_hash, own.is_held OR shared.is_held, own.failures
    FROM count_attempt(account, account_allowed, first_s, longest_s, INTERVAL '1 day') own
    CROSS JOIN count_attempt(place, place_allowed, first_s, longest_s, INTERVAL '1 hour') shared
    LEFT JOIN users u ON u.email_key = wanted_email_key
    LEFT JOIN user_credentials c ON c.user_id = u.id
$$
"""

OLD_END_SIGN_IN = """
CREATE FUNCTION end_sign_in(account bytea, place bytea, person uuid, upgraded text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  DELETE FROM sign_in_attempts WHERE key = account;
  UPDATE sign_in_attempts SET failures = greatest(failures - 1, 0), held_until = NULL WHERE key = place;
  UPDATE user_credentials SET password_hash = upgraded WHERE user_id = person AND upgraded IS NOT NULL;
$$
"""

OLD_FUNCTIONS = {
    "count_attempt(bytea, int, int, int, interval)": OLD_COUNT_ATTEMPT,
    "begin_sign_in(text, bytea, int, bytea, int, int, int)": OLD_BEGIN_SIGN_IN,
    "end_sign_in(bytea, bytea, uuid, text)": OLD_END_SIGN_IN,
}


def replace(old: dict[str, str], new: dict[str, str]) -> None:
    for signature in reversed(old):
        op.execute(f"DROP FUNCTION {signature}")
    for signature, text in new.items():
        ddl.definer_function(signature, text)


def upgrade() -> None:
    instants = pg.ARRAY(sa.DateTime(timezone=True))
    op.add_column("sign_in_attempts", sa.Column("pending", instants, server_default="{}", nullable=False))
    replace(OLD_FUNCTIONS, FUNCTIONS)


def downgrade() -> None:
    replace(FUNCTIONS, OLD_FUNCTIONS)
    op.drop_column("sign_in_attempts", "pending")
