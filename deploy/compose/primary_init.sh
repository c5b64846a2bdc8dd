#!/bin/sh
# Run once by the PostgreSQL image in a new data folder: roles, extensions, and the access of replicas.
#
#   CONFIG_DIR    where bootstrap.sql is (/etc/campshub)
#   SECRETS_DIR   where the roles' passwords are (/run/secrets)
set -eu
{
    for role in app migrator system maintenance readonly replicator; do
        printf "\\\\set %s_password '%s'\n" "$role" "$(cat "${SECRETS_DIR:-/run/secrets}/postgres_${role}_password")"
    done
    printf '\\i %s/bootstrap.sql\n' "${CONFIG_DIR:-/etc/campshub}"
} | psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"

psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --command "SELECT pg_create_physical_replication_slot('campshub_replica', true)" > /dev/null

printf 'host replication campshub_replicator samenet scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
