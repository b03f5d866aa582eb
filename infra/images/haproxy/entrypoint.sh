#!/bin/sh
# As in the upstream image: options alone mean haproxy, which runs in the foreground as master and worker.
set -e
case "${1:-}" in -*) set -- haproxy "$@" ;; esac
if [ "${1:-}" = haproxy ]; then
  shift
  exec haproxy -W -db "$@"
fi
exec "$@"
