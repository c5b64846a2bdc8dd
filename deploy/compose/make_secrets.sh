#!/bin/sh
# Create the secrets that docker-compose.high-performance.yml reads. Existing ones stay.
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

# create NAME VALUE: write a secret, unless it exists
create() {
    [ -s "$folder/$1" ] && return
    printf '%s' "$2" > "$folder/$1"
    chmod 444 "$folder/$1"
    echo "created $folder/$1"
}

for role in superuser app migrator system maintenance readonly replicator; do
    create "postgres_${role}_password" "$(random 24)"
done
create redis_password "$(random 24)"
create redis_url "redis://:$(cat "$folder/redis_password")@redis-cache:6379/0"
create broker_admin_password "$(random 24)"
create broker_password "$(random 24)"
create celery_broker_url "redis://campshub:$(cat "$folder/broker_password")@redis-broker:6379/0"
create secret_key "$(random 48)"
create jwt_private_keys "k1:$(random 32)"
create field_encryption_keys "k1:$(random 32)"
create archive_keys "k1:$(random 32)"
# The mail server's URL with its password: write smtps://user:password@host into this file. Empty: e-mails become files
# in the volume "mail".
[ -e "$folder/smtp_url" ] || : > "$folder/smtp_url"
