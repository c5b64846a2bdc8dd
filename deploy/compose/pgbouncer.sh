#!/bin/sh
# Write what pgbouncer.ini includes, from the environment and the secrets, into the working folder, and start PgBouncer.
#
#   SERVER_HOST   the PostgreSQL server behind this PgBouncer
#   SERVER_PORT   its port (5432)
#   LISTEN_PORT   where PgBouncer listens (6432)
#   RUN_DIR       the working folder (/run/campshub)
#   CONFIG_DIR    where pgbouncer.ini is (/etc/campshub)
#   SECRETS_DIR   where the roles' passwords are (/run/secrets)
set -eu
umask 077
cd "${RUN_DIR:-/run/campshub}"
printf '* = host=%s port=%s\n' "$SERVER_HOST" "${SERVER_PORT:-5432}" > databases.ini
printf 'listen_addr = *\nlisten_port = %s\nunix_socket_dir =\n' "${LISTEN_PORT:-6432}" > listen.ini
# Versions before 1.21 refuse to start with a setting that they do not know.
if pgbouncer --version | grep -Eq '^PgBouncer (1\.(2[1-9]|[3-9][0-9])|[2-9])'; then
    printf 'max_prepared_statements = 200\n' > newer.ini
else
    : > newer.ini
fi
: > userlist.txt
for role in app migrator system maintenance readonly; do
    password="$(cat "${SECRETS_DIR:-/run/secrets}/postgres_${role}_password")"
    printf '"campshub_%s" "%s"\n' "$role" "$password" >> userlist.txt
done
exec pgbouncer "${CONFIG_DIR:-/etc/campshub}/pgbouncer.ini"
