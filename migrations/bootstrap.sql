-- Create the roles, the database's ownership and the extensions: steps that need a superuser, so not a migration.
--
--   psql -v ON_ERROR_STOP=1 -v app_password=... -v migrator_password=... -v system_password=... \
--        -v maintenance_password=... -v readonly_password=... -v replicator_password=... \
--        -d <database> -f migrations/bootstrap.sql
--
-- Run it once for each database, as a superuser, before `flask db upgrade`; running it again changes nothing but the
-- passwords. (A variable set with -v is visible in the process list; on a shared machine send `\set` lines and
-- `\i migrations/bootstrap.sql` by standard input instead.)

\set ON_ERROR_STOP on

-- The statements below contain passwords. Do not write them to the log or to pg_stat_statements, which others can read.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET pg_stat_statements.track = 'none';
SET password_encryption = 'scram-sha-256';
SET client_min_messages = 'warning';  -- no notices of existing objects in a second run

-- The search takes letters from LC_CTYPE (pg_trgm does, whatever the locale provider is): with C it would find no name
-- beyond ASCII. It cannot be changed later, so this script stops in a database that has another.
DO $$
DECLARE
    present pg_database;
BEGIN
    SELECT * INTO present FROM pg_database WHERE datname = current_database();
    IF pg_encoding_to_char(present.encoding) <> 'UTF8' OR lower(replace(present.datctype, '-', '')) <> 'c.utf8' THEN
        RAISE EXCEPTION 'the database % has the encoding % and LC_CTYPE %, not UTF8 and C.UTF-8 (docs/operations.md: '
            'The locale)', present.datname, pg_encoding_to_char(present.encoding), present.datctype;
    END IF;
END $$;

BEGIN;

-- Two simultaneous runs in different databases change the same rows of the shared catalogues, and one would fail with
-- "tuple concurrently updated". Advisory locks are per database; this lock is not, and it does not block readers.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

-- Roles -------------------------------------------------------------------------------------------------------------

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY[
    'campshub_owner', 'campshub_backfill', 'campshub_definer', 'campshub_migrator', 'campshub_app',
    'campshub_system', 'campshub_maintenance', 'campshub_readonly', 'campshub_replicator'
]) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

-- Owns the tables. It has no login, so no pooled connection can ever alter a table or drop a policy.
ALTER ROLE campshub_owner
    NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT;

-- Data changes of migrations, and VALIDATE CONSTRAINT. Policies are FORCED, so they bind the owner as well: its UPDATE
-- would change no row and its VALIDATE would skip orphans, both silently.
ALTER ROLE campshub_backfill
    NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT;

-- Owns the few SECURITY DEFINER functions that look something up before the tenant is known. It bypasses policies but
-- reads only the tables that a migration grants to it. A migration that creates such a function grants it CREATE on the
-- schema and revokes it afterwards, so that the functions themselves never run with it.
ALTER ROLE campshub_definer
    NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT;

-- Runs migrations. Its only right is to become one of the three above, by an explicit SET ROLE.
ALTER ROLE campshub_migrator
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT
    PASSWORD :'migrator_password';

-- Serves requests. Neither owner nor BYPASSRLS: the application refuses to start otherwise.
ALTER ROLE campshub_app
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT
    PASSWORD :'app_password';

-- Jobs that span organizations, and the superadmin's lists.
ALTER ROLE campshub_system
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS INHERIT
    PASSWORD :'system_password';

-- Partitions, vacuum, reindex; always without PgBouncer.
ALTER ROLE campshub_maintenance
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT
    PASSWORD :'maintenance_password';

-- Read-only access for a person. Policies bind it too.
ALTER ROLE campshub_readonly
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT
    PASSWORD :'readonly_password';

-- Streaming replicas and base backups.
ALTER ROLE campshub_replicator
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION NOBYPASSRLS INHERIT
    PASSWORD :'replicator_password';

-- Inherited: it has the owner's rights on every table, without a second SET ROLE.
GRANT campshub_owner TO campshub_backfill WITH INHERIT TRUE, SET TRUE;

-- Not inherited: a migration that forgets SET ROLE fails, instead of creating tables that belong to a login.
GRANT campshub_owner, campshub_backfill, campshub_definer TO campshub_migrator WITH INHERIT FALSE, SET TRUE;
GRANT campshub_owner TO campshub_maintenance WITH INHERIT FALSE, SET TRUE;
GRANT pg_maintain, pg_monitor TO campshub_maintenance WITH INHERIT TRUE;

-- pg_stat_wal_receiver and pg_stat_replication show their columns only with this; the application reads how far a
-- replica has replayed.
GRANT pg_read_all_stats TO campshub_app, campshub_readonly WITH INHERIT TRUE;

-- Limits, by role: PgBouncer hands out server connections to many clients and older ones refuse the `options` startup
-- parameter, so a client cannot bring its own. ---------------------------------------------------------------------

ALTER ROLE campshub_app SET statement_timeout = '8s';  -- below the application's deadline for a request
ALTER ROLE campshub_app SET lock_timeout = '3s';
ALTER ROLE campshub_app SET idle_in_transaction_session_timeout = '15s';
ALTER ROLE campshub_app SET timezone = 'UTC';
ALTER ROLE campshub_system SET statement_timeout = '5min';
ALTER ROLE campshub_system SET timezone = 'UTC';
-- A waiting DDL statement blocks everything that queues behind it; give up and try again.
ALTER ROLE campshub_migrator SET lock_timeout = '2s';
ALTER ROLE campshub_migrator SET timezone = 'UTC';
ALTER ROLE campshub_maintenance SET lock_timeout = '2s';
ALTER ROLE campshub_maintenance SET timezone = 'UTC';
ALTER ROLE campshub_readonly SET default_transaction_read_only = on;

-- The database and its schema ---------------------------------------------------------------------------------------

ALTER DATABASE :"DBNAME" OWNER TO campshub_owner;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME"
    TO campshub_migrator, campshub_app, campshub_system, campshub_maintenance, campshub_readonly;

ALTER SCHEMA public OWNER TO campshub_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO campshub_app, campshub_system, campshub_maintenance, campshub_readonly, campshub_definer, campshub_backfill,
       campshub_migrator;

-- No ALTER DEFAULT PRIVILEGES for the application: each migration grants what its tables need, so a new table is
-- inaccessible until a migration decides about it.

-- Extensions --------------------------------------------------------------------------------------------------------

CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;  -- no two overlapping enrolments
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pgstattuple WITH SCHEMA public;  -- how full indexes are, for flask optimize-database

COMMIT;
