# shellcheck shell=bash
# What infra/up and infra/down know about a running cluster: its files, its process, its API.
# Sourced after lib.sh; DATA is the cluster's data folder.
# shellcheck disable=SC2034 # the names are used by those who source this

use_data() {
  DATA="$1"
  [[ "$DATA" == /* ]] || DATA="$PWD/$DATA"
  PIDFILE="$DATA/orleanscluster.pid"
  LOG="$DATA/orleanscluster.log"
  OPTIONS="$DATA/up.options"   # port, nodes and runtime of the last start
  ENGINE="$DATA/engine.pid"    # there if infra/up started the container engine
}

cluster_pid() { cat "$PIDFILE" 2>/dev/null || true; }

cluster_runs() { process_is "$(cluster_pid)" orleanscluster; }

# api METHOD PATH [CURL-OPTION...]: one request as the administrator; the body on standard output.
api() {
  local method="$1" path="$2"
  shift 2
  curl -sS --max-time 10 --cacert "$DATA/pki/ca.crt" -H "Authorization: Bearer $(cat "$DATA/token")" \
    -X "$method" "$@" "https://127.0.0.1:$PORT$path"
}

# values FIELD: every value of that field in the JSON on standard input, one per line, or nothing (there may be no jq).
values() { { grep -oE "\"$1\" *: *(\"[^\"]*\"|[0-9]+)" || true; } | sed -E 's/^[^:]*: *"?([^"]*)"?$/\1/'; }

cluster_ready() {
  [[ -s "$DATA/pki/ca.crt" && -s "$DATA/token" && -s "$DATA/kubeconfig" ]] &&
    [[ "$(curl -s --max-time 2 --cacert "$DATA/pki/ca.crt" "https://127.0.0.1:$PORT/readyz" 2>/dev/null)" == ok* ]]
}

# stop_cluster: SIGTERM, and after ten seconds SIGKILL with a warning.
stop_cluster() {
  local pid tick
  pid="$(cluster_pid)"
  step "Stopping the cluster (process $pid)"
  kill -TERM "$pid"
  for ((tick = 0; tick < 100; tick++)); do
    process_is "$pid" orleanscluster || break
    sleep 0.1
  done
  if process_is "$pid" orleanscluster; then
    warn "It has not ended within 10 seconds and is killed; nothing that was acknowledged is lost."
    kill -KILL "$pid"
  fi
  rm -f "$PIDFILE"
}
