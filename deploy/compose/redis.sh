#!/bin/sh
# Start Redis with the project's configuration for its kind: redis.sh cache, or redis.sh broker.
set -eu
umask 077
cat > /run/campshub/start.conf <<END
include $1.conf
bind * -::*
port 6379
dir /data
requirepass $(cat /run/secrets/redis_password)
END
cd /etc/campshub
exec redis-server /run/campshub/start.conf
