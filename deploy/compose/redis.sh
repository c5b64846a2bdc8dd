#!/bin/sh
# Start Redis with the project's configuration: redis.sh cache, or redis.sh broker.
#
#   LISTEN_PORT   where Redis listens (6379)
#   DATA_DIR      where the broker stores its append-only file (/data)
#   RUN_DIR       a folder for the written configuration (/run/campshub)
#   CONFIG_DIR    where redis.conf, cache.conf and broker.conf are (/etc/campshub)
#   SECRETS_DIR   where the password is (/run/secrets)
set -eu
umask 077
start="${RUN_DIR:-/run/campshub}/start.conf"
cat > "$start" <<END
include $1.conf
bind * -::*
port ${LISTEN_PORT:-6379}
dir ${DATA_DIR:-/data}
requirepass $(cat "${SECRETS_DIR:-/run/secrets}/redis_password")
END
cd "${CONFIG_DIR:-/etc/campshub}"
exec redis-server "$start"
