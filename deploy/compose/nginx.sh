#!/bin/sh
# Write what nginx.conf includes into a folder, link nginx.conf there, and start nginx in it.
#
#   API_SERVERS        the API processes: "web-1:8000 web-2:8000"
#   NGINX_RATE         how fast one address may send requests on average (100r/s)
#   CORS_ORIGINS       the API's setting: the origins whose pages may also read nginx's own errors
#   TRUSTED_PROXY      the address ranges, IPv4 and IPv6, of proxies before nginx that end TLS, separated by commas or
#                      blanks; nginx trusts their X-Forwarded-For and -Proto
#   TLS_CERTIFICATE    a certificate chain and its key, when TLS ends here; nginx then also listens on 8443
#   TLS_KEY
#   RUN_DIR            the folder (/run/campshub)
#   CONFIG_DIR         where nginx.conf is (/etc/campshub)
#   LISTEN_PORT        where nginx listens (8080)
set -euf
folder=${RUN_DIR:-/run/campshub}
mkdir -p "$folder/tmp"
ln -sf "${CONFIG_DIR:-/etc/campshub}/nginx.conf" "$folder/nginx.conf"
ln -sf /dev/stdout "$folder/access.log"
ln -sf /dev/stderr "$folder/error.log"

# listed VALUES: print one per line
listed() { printf '%s\n' "$1" | tr ',' '\n' | tr ' ' '\n' | sed '/^$/d'; }

: > "$folder/upstreams.conf"
for server in $API_SERVERS; do
    echo "server $server max_fails=3 fail_timeout=5s;" >> "$folder/upstreams.conf"
done

# has_ipv6: whether this network has IPv6; without it, nginx would not start with an IPv6 address
has_ipv6() { [ -s /proc/net/if_inet6 ]; }
port=${LISTEN_PORT:-8080}
{
    echo "listen $port;"
    if has_ipv6; then echo "listen [::]:$port;"; fi
    if [ -n "${TLS_CERTIFICATE:-}" ]; then
        echo 'listen 8443 ssl;'
        if has_ipv6; then echo 'listen [::]:8443 ssl;'; fi
        cat <<END
ssl_certificate $TLS_CERTIFICATE;
ssl_certificate_key $TLS_KEY;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:tls:10m;
ssl_session_tickets off;
END
    fi
} > "$folder/listen.conf"

{
    echo "limit_req_zone \$binary_remote_addr zone=address:10m rate=${NGINX_RATE:-100r/s};"
    echo 'limit_conn_zone $binary_remote_addr zone=connections:10m;'
    if [ -n "${TRUSTED_PROXY:-}" ]; then
        listed "$TRUSTED_PROXY" | sed 's/.*/set_real_ip_from &;/'
        echo 'real_ip_header X-Forwarded-For;'
        # With several proxies in a row: the last address that belongs to none of them.
        echo 'real_ip_recursive on;'
        echo 'geo $realip_remote_addr $is_trusted {'
        echo 'default 0;'
        listed "$TRUSTED_PROXY" | sed 's/.*/& 1;/'
        echo '}'
        echo 'map $is_trusted:$http_x_forwarded_proto $edge_scheme { default $scheme; 1:https https; }'
    else
        echo 'map $scheme $edge_scheme { default $scheme; }'
    fi
    echo 'map $http_origin $cors_origin {'
    echo 'default "";'
    listed "${CORS_ORIGINS:-}" | tr '[:upper:]' '[:lower:]' | sed 's/.*/"&" "&";/'
    # If nginx could not read the Origin (the line was too long), any page may read the error: it has no personal data.
    if [ -n "${CORS_ORIGINS:-}" ]; then echo '"" "*";'; fi
    echo '}'
} > "$folder/edge.conf"

exec nginx -p "$folder/" -c "$folder/nginx.conf" -e "$folder/error.log"
