#!/bin/sh
# Copy the primary into an empty data folder, then follow it.
set -eu
umask 077
passwords=/tmp/pgpass
printf '*:*:*:campshub_replicator:%s\n' "$(cat /run/secrets/postgres_replicator_password)" > "$passwords"
export PGPASSFILE="$passwords"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Renamed when it is whole: an interrupted copy is begun anew.
    rm -rf "$PGDATA" "$PGDATA.new"
    mkdir -p "$(dirname "$PGDATA")"
    pg_basebackup --pgdata "$PGDATA.new" --slot campshub_replica --wal-method stream --checkpoint fast \
        --host postgres-primary --username campshub_replicator --no-password
    mv "$PGDATA.new" "$PGDATA"
fi
touch "$PGDATA/standby.signal"

exec postgres -D "$PGDATA" \
    -c config_file=/etc/campshub/postgresql.conf \
    -c hba_file="$PGDATA/pg_hba.conf" \
    -c listen_addresses='*' \
    -c primary_slot_name=campshub_replica \
    -c primary_conninfo="host=postgres-primary user=campshub_replicator passfile=$passwords application_name=replica"
