#!/bin/sh
# Copy the primary into an empty data folder, then follow it. A replica that was promoted stays a primary when it starts
# again: standby.signal is written with a fresh copy only.
#
#   PGDATA          the data folder
#   PRIMARY_HOST    the server to copy and follow (postgres-primary)
#   PRIMARY_PORT    its port (5432)
#   LISTEN_PORT     where this server listens (5432)
#   RUN_DIR         a folder for the password file (/tmp)
#   CONFIG_DIR      where postgresql.conf is (/etc/campshub)
#   SECRETS_DIR     where the replicator's password is (/run/secrets)
set -eu
umask 077
passwords="${RUN_DIR:-/tmp}/pgpass"
password="$(cat "${SECRETS_DIR:-/run/secrets}/postgres_replicator_password")"
printf '*:*:*:campshub_replicator:%s\n' "$password" > "$passwords"
export PGPASSFILE="$passwords"
host=${PRIMARY_HOST:-postgres-primary}
port=${PRIMARY_PORT:-5432}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Renamed when it is complete: an interrupted copy starts again.
    rm -rf "$PGDATA" "$PGDATA.new"
    mkdir -p "$(dirname "$PGDATA")"
    pg_basebackup --pgdata "$PGDATA.new" --slot campshub_replica --wal-method stream --checkpoint fast \
        --host "$host" --port "$port" --username campshub_replicator --no-password
    touch "$PGDATA.new/standby.signal"
    mv "$PGDATA.new" "$PGDATA"
fi

exec postgres -D "$PGDATA" \
    -c config_file="${CONFIG_DIR:-/etc/campshub}/postgresql.conf" \
    -c hba_file="$PGDATA/pg_hba.conf" \
    -c listen_addresses='*' \
    -c port="${LISTEN_PORT:-5432}" \
    -c primary_slot_name=campshub_replica \
    -c primary_conninfo="host=$host port=$port user=campshub_replicator passfile=$passwords application_name=replica"
