#!/bin/sh
# httpd has no handler for SIGTERM, and a first process without one ignores it: the shell ends in its place.
trap 'exit 0' TERM INT
httpd -f -p "${PORT:-8080}" -h /www &
echo "guestbook: serving on port ${PORT:-8080}; leader ${REDIS_LEADER_SERVICE_HOST:-(no service)}:${REDIS_LEADER_SERVICE_PORT:-}, follower ${REDIS_FOLLOWER_SERVICE_HOST:-(no service)}:${REDIS_FOLLOWER_SERVICE_PORT:-}"
wait $!
