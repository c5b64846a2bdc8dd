#!/bin/sh
# Write what pgbouncer.ini includes, from the environment and the secrets, into the working folder; start PgBouncer there.
#
#   SERVER_HOST   the PostgreSQL server that this PgBouncer stands in front of
#   SERVER_PORT   its port (5432)
set -eu
umask 077
cd /run/campshub
printf '* = host=%s port=%s\n' "$SERVER_HOST" "${SERVER_PORT:-5432}" > databases.ini
printf 'listen_addr = *\nlisten_port = 6432\nunix_socket_dir =\n' > listen.ini
printf 'max_prepared_statements = 200\n' > newer.ini
: > userlist.txt
for role in app migrator system maintenance readonly; do
    printf '"campshub_%s" "%s"\n' "$role" "$(cat "/run/secrets/postgres_${role}_password")" >> userlist.txt
done
exec pgbouncer /etc/campshub/pgbouncer.ini
