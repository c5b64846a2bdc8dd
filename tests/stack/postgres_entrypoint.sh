#!/bin/sh
# Does what the compose file needs of the official image's entry point in a new data folder: initdb with
# POSTGRES_INITDB_ARGS, the database, the scripts of /docker-entrypoint-initdb.d on a server without TCP, and passwords for
# TCP connections.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    # shellcheck disable=SC2086 # arguments, as in the image
    initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS > /dev/null
    printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    pg_ctl --pgdata "$PGDATA" --wait --silent --log /tmp/init.log --options "-c listen_addresses=''" start
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sh; do
        "$script"
    done
    pg_ctl --pgdata "$PGDATA" --wait --silent --mode fast stop
fi
exec "$@"
