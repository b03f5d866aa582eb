# shellcheck shell=bash
# A cluster of many processes on this machine: Redis, silos, API servers on one port, the service proxy, node agents. What
# infra/up and infra/down share about them. Sourced after lib.sh and cluster.sh; DATA is the cluster's data folder.
#   run/NAME.pid, log/NAME.log   one of each per process; NAME is redis, silo-1, api-1, proxy, node-1, ...
#   ports                        the ports that were chosen at the first start, so that they are the same at the next

RUN="$DATA/run" PROCESS_LOGS="$DATA/log" PORTS="$DATA/ports" REDIS_DATA="$DATA/redis"
PASSWORD_FILE="$DATA/redis-password"

process_pid() { cat "$RUN/$1.pid" 2>/dev/null || true; }

# Redis writes its own command line; ours all name the data folder.
process_runs() {
  local pid
  pid="$(process_pid "$1")"
  if [[ "$1" == redis ]]; then process_is "$pid" '^redis-server '; else process_is "$pid" "--data $DATA\( \|$\)"; fi
}

# processes: the names of all that were started and not stopped since, dead or alive.
processes() {
  local file
  for file in "$RUN"/*.pid; do
    [[ ! -e "$file" ]] || basename "$file" .pid
  done
}

# kind NAME: redis, silo, api, proxy or node.
kind() { echo "${1%%-[0-9]*}"; }

living() { local name; for name in $(processes); do if process_runs "$name"; then echo "$name"; fi; done; }

# port NAME: the port of that name, chosen at its first use below those that outgoing connections take.
port() {
  local name="$1" candidate
  if candidate="$(sed -n "s/^$name=//p" "$PORTS" 2>/dev/null)" && [[ -n "$candidate" ]]; then echo "$candidate"; return 0; fi
  candidate=$((20000 + $(hash_of_input <<<"$DATA" | tr -dc 0-9 | cut -c 1-6 | sed 's/^0*//;s/^$/0/') % 10000))
  while grep -q "=$candidate\$" "$PORTS" 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; do
    candidate=$((candidate + 1))
  done
  echo "$name=$candidate" >>"$PORTS"
  echo "$candidate"
}

# start_process NAME COMMAND...: in a session of its own, so that neither this terminal's end nor its Ctrl-C reaches it.
start_process() {
  local name="$1" log="$PROCESS_LOGS/$1.log" detach=(nohup)
  shift
  mkdir -p "$RUN" "$PROCESS_LOGS"
  if [[ -s "$log" ]]; then mv "$log" "$log.1"; fi
  if have setsid; then detach=(setsid nohup); fi
  "${detach[@]}" "$@" >"$log" 2>&1 </dev/null &
  echo "$!" >"$RUN/$name.pid"
}

# process_ready NAME: its health endpoint, or for Redis its answer, says so.
process_ready() {
  case "$(kind "$1")" in
    redis) redis_answers ;;
    *) [[ "$(curl -s --max-time 2 "http://127.0.0.1:$(port "$1.health")/readyz" 2>/dev/null)" == ok* ]] ;;
  esac
}

# wait_ready SECONDS NAME...: until all are ready. One that ends meanwhile, or is late, fails with the end of its log.
wait_ready() {
  local seconds="$1" name begin=$SECONDS told=$SECONDS waiting
  shift
  while :; do
    waiting=()
    for name in "$@"; do
      if process_ready "$name"; then continue; fi
      waiting+=("$name")
      if ! process_runs "$name"; then
        tail -n 20 "$PROCESS_LOGS/$name.log" >&2
        rm -f "$RUN/$name.pid"
        die "$name ended while it started." "Its log is $PROCESS_LOGS/$name.log; infra/up tries again."
      fi
    done
    [[ ${#waiting[@]} -gt 0 ]] || return 0
    if ((SECONDS - begin >= seconds)); then
      tail -n 20 "$PROCESS_LOGS/${waiting[0]}.log" >&2
      die "Not ready within $seconds seconds: ${waiting[*]}. They go on trying." \
        "Logs are in $PROCESS_LOGS; run infra/up again, or infra/down to stop everything."
    fi
    if ((SECONDS - told >= 5)); then
      ok "waiting for ${waiting[*]} ($((SECONDS - begin)) s): $(tail -n 1 "$PROCESS_LOGS/${waiting[0]}.log" | cut -c 1-80)"
      told=$SECONDS
    fi
    sleep 0.2
    set -- "${waiting[@]}"
  done
}

# stop_processes SECONDS NAME...: SIGTERM to all at once; those that have not ended in time are killed, with a warning.
stop_processes() {
  local seconds="$1" name tick left
  shift
  for name in "$@"; do kill -TERM "$(process_pid "$name")" 2>/dev/null || true; done
  for ((tick = 0; tick < seconds * 10; tick++)); do
    left=()
    for name in "$@"; do if process_runs "$name"; then left+=("$name"); fi; done
    [[ ${#left[@]} -gt 0 ]] || break
    sleep 0.1
  done
  for name in "${left[@]}"; do
    warn "$name has not ended within $seconds seconds and is killed; nothing that was acknowledged is lost."
    kill -KILL "$(process_pid "$name")" 2>/dev/null || true
  done
  for name in "$@"; do rm -f "$RUN/$name.pid"; done
}

# --- Redis ---------------------------------------------------------------------------------------------------------

# REDIS is HOST:PORT of one that is given, or empty for one of our own.
redis_address() { if [[ -n "${REDIS:-}" ]]; then echo "$REDIS"; else echo "127.0.0.1:$(port redis)"; fi; }

# The password never stands in a command line, which everybody on the machine can read.
redis_answers() {
  local address host
  address="$(redis_address)"
  host="${address%:*}"
  [[ "$(REDISCLI_AUTH="$(cat "$PASSWORD_FILE" 2>/dev/null || true)" timeout 3 redis-cli -h "$host" -p "${address##*:}" ping 2>/dev/null)" == PONG ]]
}

start_redis() {
  local umask_before
  umask_before="$(umask)"
  umask 077
  mkdir -p "$REDIS_DATA"
  [[ -s "$PASSWORD_FILE" ]] || head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' >"$PASSWORD_FILE"
  printf 'requirepass %s\n' "$(cat "$PASSWORD_FILE")" >"$REDIS_DATA/auth.conf"
  umask "$umask_before"
  start_process redis redis-server "$ROOT/infra/redis.conf" --dir "$REDIS_DATA" --port "$(port redis)" --include "$REDIS_DATA/auth.conf"
}

# --- what runs -----------------------------------------------------------------------------------------------------

# process_table: a line for every process.
process_table() {
  local name pid state
  for name in $(processes | sort -V); do
    pid="$(process_pid "$name")"
    if process_runs "$name"; then
      state="$(process_ready "$name" && echo ready || echo 'not ready')"
      printf '  %-8s %-10s process %-8s %s MB\n' "$name" "$state" "$pid" "$(($(ps -o rss= -p "$pid" | tr -d ' ') / 1024))"
    else
      printf '  %-8s %s\n' "$name" "ended (log: $PROCESS_LOGS/$name.log); infra/up starts it again"
    fi
  done
}
