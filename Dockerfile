# The application's image, and PgBouncer's. Both run as ordinary users with a read-only root: what they write goes to
# /run/campshub and /tmp, which the compose file mounts in memory.
#
#   docker build --target web -t campshub .
#   docker build --target pgbouncer -t campshub-pgbouncer .

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/campshub
COPY requirements.txt /tmp/requirements.txt
# Wheels only: no downloaded package runs its own code during the installation. The lock is complete, so pip resolves
# no further packages (--no-deps).
RUN /opt/campshub/bin/pip install --no-deps --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && /opt/campshub/bin/pip check


# PgBouncer's fixes for unauthenticated crashes came with 1.25.2, and Debian's releases have older versions. The
# PostgreSQL image brings the PostgreSQL project's own Debian packages.
FROM postgres:18-trixie AS pgbouncer
RUN apt-get update \
    && apt-get install -y --no-install-recommends pgbouncer \
    && rm -rf /var/lib/apt/lists/* \
    && version="$(dpkg-query --show --showformat '${Version}' pgbouncer)" \
    && dpkg --compare-versions "$version" ge 1.25.2
USER postgres
WORKDIR /run/campshub
COPY --chmod=0755 deploy/compose/pgbouncer.sh /usr/local/bin/start-pgbouncer
STOPSIGNAL SIGINT
ENTRYPOINT []
CMD ["start-pgbouncer"]


FROM python:3.13-slim-trixie AS web
# Fonts of PDF reports, for names in any script.
RUN apt-get update \
    && apt-get install -y --no-install-recommends fonts-noto-core fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 campshub \
    && useradd --system --uid 10001 --gid campshub --home-dir /nonexistent --shell /usr/sbin/nologin campshub
COPY --from=build /opt/campshub /opt/campshub
WORKDIR /srv/campshub
COPY . .
ENV PATH=/opt/campshub/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLASK_APP=wsgi.py \
    BIND=0.0.0.0:8000
# Reports, in one volume that all containers of the application share; archives, which workers write; and e-mails, if
# there is no mail server.
RUN install --directory --owner campshub --group campshub --mode 0700 \
    /srv/files /srv/files/tmp /srv/archives /srv/mail
RUN python -m compileall -q campshub config migrations wsgi.py celery_worker.py
USER campshub
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/live/', headers={'X-Forwarded-Proto': 'https'}), timeout=4)"]
CMD ["gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
