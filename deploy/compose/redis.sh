#!/bin/sh
# Start Redis with the project's configuration: redis.sh cache, or redis.sh broker.
#
#   LISTEN_PORT   where Redis listens (6379)
#   DATA_DIR      where the broker stores its append-only file (/data)
#   RUN_DIR       a folder for the written configuration (/run/campshub)
#   CONFIG_DIR    where redis.conf, cache.conf, broker.conf and broker.acl are (/etc/campshub)
#   SECRETS_DIR   where the passwords are (/run/secrets): redis_password; for the broker broker_admin_password, and
#                 broker_password of the application's user "campshub"
set -eu
umask 077
start="${RUN_DIR:-/run/campshub}/start.conf"
config="${CONFIG_DIR:-/etc/campshub}"
secrets="${SECRETS_DIR:-/run/secrets}"
if [ "$1" = broker ]; then
    password="$(cat "$secrets/broker_admin_password")"
    of_user="$(cat "$secrets/broker_password")"
    user="user campshub on >$of_user $(grep -v '^#' "$config/broker.acl" | tr '\n' ' ')"
else
    password="$(cat "$secrets/redis_password")"
    user=
fi
cat > "$start" <<END
include $1.conf
bind * -::*
port ${LISTEN_PORT:-6379}
dir ${DATA_DIR:-/data}
requirepass $password
$user
END
cd "$config"
exec redis-server "$start"
