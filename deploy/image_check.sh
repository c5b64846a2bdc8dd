#!/bin/bash
# Build the application's image (target web of the Dockerfile) with buildah and run it with podman, as the compose file
# does: read-only, an ordinary user, memory folders. It needs root and no official image: debootstrap builds the base.
# Not part of `make test`; it takes minutes and some gigabytes below /var/tmp.
#
#   IMAGE_CHECK_DIR   where the base is built and stored (/var/tmp/campshub-image-check)
#   DEBIAN_MIRROR     where debootstrap takes Debian trixie from, if not its usual mirror
#   PIP_CONFIG        a pip.conf for the build, if packages come from another index
#   PORT              where gunicorn listens on the loopback address (8000)
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for program in buildah podman runc debootstrap; do
    command -v "$program" > /dev/null || missing+=("$program")
done
if [ "${#missing[@]}" -gt 0 ] || [ "$(id -u)" != 0 ]; then
    echo "make image-check needs root and buildah, podman, runc and debootstrap; missing: ${missing[*]:-root}" >&2
    exit 1
fi

folder="${IMAGE_CHECK_DIR:-/var/tmp/campshub-image-check}"
base=docker.io/library/python:3.13-slim-trixie # the name in the Dockerfile; nothing is pulled
name="campshub-check-$$"
PORT="${PORT:-8000}"
mkdir -p "$folder"

build_base() {
    if [ ! -e "$folder/trixie/.complete" ]; then
        rm -rf "$folder/trixie"
        debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python-is-python3 \
            trixie "$folder/trixie" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$folder/debootstrap.log" 2>&1 \
            || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
        touch "$folder/trixie/.complete"
    fi
    buildah inspect --type image "$base" > /dev/null 2>&1 && return
    local container
    container="$(buildah from scratch)"
    buildah add --quiet "$container" "$folder/trixie" / > /dev/null
    # The machine's certificate authorities: its network may have a proxy with its own one.
    buildah add --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt > /dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$base" > /dev/null
}

build_image() {
    local options=(--isolation chroot --network host --pull-never --layers --format docker --target web --tag "$name")
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$folder/pip.conf"
    options+=(--volume "${PIP_CONFIG:-$folder/pip.conf}:/etc/pip.conf:ro")
    buildah bud "${options[@]}" . > "$folder/build.log" 2>&1 || { tail -n 20 "$folder/build.log" >&2; exit 1; }
}

# in_container NAME OPTIONS... -- COMMAND...: run the image like the services of the compose file. podman cannot
# set the owner of a memory folder, so this one is writable for all
in_container() {
    local container="$name-$1" options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    podman run --name "$container" --runtime runc --cgroup-manager cgroupfs --network host \
        --read-only --init=false --no-healthcheck --cap-drop ALL --security-opt no-new-privileges --pids-limit=-1 \
        --ulimit nofile=16384:16384 --ulimit nproc=4096:4096 \
        --tmpfs /tmp:mode=1777 --tmpfs /run/campshub:mode=1777 \
        --volume "$name-files:/srv/files" --volume "$name-mail:/srv/mail" --env-file "$folder/environment" \
        "${options[@]}" "$name" "$@"
}

clean() {
    podman rm --force --time 20 --filter "name=$name" > /dev/null 2>&1 || true
    podman volume rm --force "$name-files" "$name-mail" > /dev/null 2>&1 || true
    podman rmi --force "$name" > /dev/null 2>&1 || true
    rm -f "$folder/environment" "$folder/pip.conf"
}

# The databases run outside the containers: `python -m devstack exec` starts them and sets their variables.
run_image() {
    env | grep -E '^(POSTGRES_|REDIS_URL=|CELERY_BROKER_URL=|SECRET_KEY=|JWT_|FIELD_|SECURE_)' > "$folder/environment"
    chmod 600 "$folder/environment"
    printf '%s\n' ALLOWED_HOSTS=127.0.0.1 PUBLIC_URL=http://127.0.0.1 STORAGE_URL=/srv/files MAIL_FOLDER=/srv/mail \
        GUNICORN_WORKERS=1 "BIND=127.0.0.1:$PORT" >> "$folder/environment"

    echo "- flask db upgrade"
    in_container migrate --rm -- flask db upgrade > /dev/null
    echo "- gunicorn"
    in_container web --detach --env PROMETHEUS_MULTIPROC_DIR=/run/campshub/metrics -- \
        gunicorn -c config/gunicorn.conf.py wsgi:app > /dev/null
    echo "- a worker and a beat"
    in_container worker --detach -- celery -A celery_worker worker --concurrency 1 --loglevel WARNING > /dev/null
    in_container beat --detach -- celery -A celery_worker beat --pidfile= --loglevel WARNING > /dev/null
    for path in live ready health metrics; do
        wait_for web python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$PORT/$path', timeout=4)"
        echo "- /$path: 200"
    done
    wait_for worker flask jobs workers --queue critical
    echo "- the worker answers"
    wait_for worker flask check-config
    echo "- flask check-config: ok"
    podman exec "$name-web" sh -c '! touch /srv/campshub/x 2> /dev/null && [ "$(id -u)" = 10001 ]'
    echo "- read-only, as user 10001"
}

# wait_for CONTAINER COMMAND...: wait until the command succeeds in the container, for two minutes at the most
wait_for() {
    local container="$name-$1" until=$((SECONDS + 120))
    shift
    until podman exec "$container" "$@" > "$folder/last.log" 2>&1; do
        if [ "$SECONDS" -gt "$until" ]; then
            podman logs --tail 20 "$container" >&2
            cat "$folder/last.log" >&2
            exit 1
        fi
        sleep 2
    done
}

if [ "${1:-}" = --run ]; then
    name="$2"
    run_image
    exit
fi
trap clean EXIT
echo "- base image (debootstrap)"
build_base
echo "- building target web (log: $folder/build.log)"
build_image
DEVSTACK_DIR="$folder/devstack" .venv/bin/python -m devstack exec "$PWD/deploy/image_check.sh" --run "$name"
echo "the image builds and runs"
