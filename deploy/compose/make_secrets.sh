#!/bin/sh
# Make the secrets that docker-compose.high-performance.yml reads, once. What exists is kept.
#
#   deploy/compose/make_secrets.sh
#
# The folder is closed to others; the files in it are readable, because a container's ordinary user sees them with the
# host's owner and mode.
set -eu
folder="$(cd "$(dirname "$0")" && pwd)/secrets"
mkdir -p "$folder"
chmod 700 "$folder"

random() { head -c "$1" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

# keep NAME VALUE
keep() {
    [ -s "$folder/$1" ] && return
    printf '%s' "$2" > "$folder/$1"
    chmod 444 "$folder/$1"
    echo "made $folder/$1"
}

for role in superuser app migrator system maintenance readonly replicator; do
    keep "postgres_${role}_password" "$(random 24)"
done
keep redis_password "$(random 24)"
keep redis_url "redis://:$(cat "$folder/redis_password")@redis-cache:6379/0"
keep celery_broker_url "redis://:$(cat "$folder/redis_password")@redis-broker:6379/0"
keep secret_key "$(random 48)"
keep jwt_private_keys "k1:$(random 32)"
keep field_encryption_keys "k1:$(random 32)"
keep archive_keys "k1:$(random 32)"
# The mail server's address with its password, smtps://user:password@host: write it here. Empty: e-mails become files in
# the volume "mail".
[ -e "$folder/smtp_url" ] || : > "$folder/smtp_url"
