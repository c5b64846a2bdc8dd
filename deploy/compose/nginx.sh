#!/bin/sh
# Write what nginx.conf includes into a folder, link nginx.conf there, and start nginx in it.
#
#   API_SERVERS        the API processes: "web-1:8000 web-2:8000"
#   NGINX_RATE         how fast one address may send requests on average (100r/s)
#   TRUSTED_PROXY      the address range of a proxy in front that ends TLS; its X-Forwarded-For and -Proto are believed
#   TLS_CERTIFICATE    a certificate chain and its key, when TLS ends here; nginx then also listens on 8443
#   TLS_KEY
set -eu
folder=/run/campshub
mkdir -p "$folder/tmp"
ln -sf /etc/campshub/nginx.conf "$folder/nginx.conf"
ln -sf /dev/stdout "$folder/access.log"
ln -sf /dev/stderr "$folder/error.log"

: > "$folder/upstreams.conf"
for server in $API_SERVERS; do
    echo "server $server max_fails=3 fail_timeout=5s;" >> "$folder/upstreams.conf"
done

echo 'listen 8080;' > "$folder/listen.conf"
if [ -n "${TLS_CERTIFICATE:-}" ]; then
    cat >> "$folder/listen.conf" <<END
listen 8443 ssl;
ssl_certificate $TLS_CERTIFICATE;
ssl_certificate_key $TLS_KEY;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:tls:10m;
ssl_session_tickets off;
END
fi

{
    echo "limit_req_zone \$binary_remote_addr zone=address:10m rate=${NGINX_RATE:-100r/s};"
    echo 'limit_conn_zone $binary_remote_addr zone=connections:10m;'
    if [ -n "${TRUSTED_PROXY:-}" ]; then
        cat <<END
set_real_ip_from $TRUSTED_PROXY;
real_ip_header X-Forwarded-For;
geo \$realip_remote_addr \$is_trusted { default 0; $TRUSTED_PROXY 1; }
map \$is_trusted:\$http_x_forwarded_proto \$edge_scheme { default \$scheme; 1:https https; }
END
    else
        echo 'map $scheme $edge_scheme { default $scheme; }'
    fi
} > "$folder/edge.conf"

exec nginx -p "$folder/" -c "$folder/nginx.conf" -e "$folder/error.log"
