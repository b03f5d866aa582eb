#!/bin/sh
# Options alone mean redis-server, as in the upstream image; a container's port is reached from other containers,
# so protected mode (loopback only) is off.
set -e
case "${1:-}" in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ]; then
  shift
  exec redis-server "$@" --protected-mode no
fi
exec "$@"
