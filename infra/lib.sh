# shellcheck shell=bash
# What infra/up, infra/down and infra/test share: messages, the tools a bare machine lacks, the container engine.
# Sourced, never run. Every function may be called again: what is there already is left alone.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ARTIFACTS="$ROOT/artifacts"
LOGS="$ARTIFACTS/logs"
mkdir -p "$LOGS"

# A terminal gets colours, a log file does not.
if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then
  bold=$'\e[1m' yellow=$'\e[33m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' yellow='' red='' plain=''
fi

step() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }
ok()   { printf '    %s\n' "$*"; }
warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }

# die WHAT [WHAT TO DO...]: one line of what went wrong, then lines of what to do about it.
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Tools in sbin are often missing from the PATH of an ordinary user.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# run_logged NAME COMMAND...: the output goes to artifacts/logs/NAME.log; a failure shows its end.
run_logged() {
  local log="$LOGS/$1.log"
  shift
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "'$*' failed." "The whole output is in $log"
  fi
}

# --- becoming root -------------------------------------------------------------------------------------------------

is_root() { [[ "$(id -u)" -eq 0 ]]; }

can_be_root() { is_root || { have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }; }

as_root() {
  if is_root; then "$@"; else sudo "$@"; fi
}

# --- packages ------------------------------------------------------------------------------------------------------

has_apt() { have apt-get && have dpkg-query; }

apt_installed() { [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

apt_update_once() {
  [[ -z "${APT_UPDATED:-}" ]] || return 0
  run_logged apt-update as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
  APT_UPDATED=1
}

# apt_ensure PACKAGE...: installs what is missing on Debian and Ubuntu; elsewhere says exactly what to install.
apt_ensure() {
  local package missing=()
  if ! has_apt; then
    die "This machine has no apt, so these cannot be installed here by themselves: $*." \
      "Install what they contain with your package manager, then run this command again."
  fi
  for package in "$@"; do apt_installed "$package" || missing+=("$package"); done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  can_be_root || die "Missing packages: ${missing[*]}." \
    "Run as root (or with sudo):  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  step "Installing ${missing[*]}"
  apt_update_once
  run_logged apt-install as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# ensure_tools COMMAND:PACKAGE...: installs the packages of those commands that are missing.
ensure_tools() {
  local pair missing=()
  for pair in "$@"; do have "${pair%%:*}" || missing+=("${pair##*:}"); done
  [[ ${#missing[@]} -eq 0 ]] || apt_ensure "${missing[@]}"
}

# --- .NET ----------------------------------------------------------------------------------------------------------

# `dotnet --version` inside the repository fails exactly when no installed SDK satisfies global.json.
# In a group, so that the shell's own word of an aborted program goes the same way.
dotnet_suits() { { (cd "$ROOT" && "$1" --version); } >/dev/null 2>&1; }

ensure_dotnet() {
  export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
  # Build servers would outlive the script and hold its output open.
  export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
  if have dotnet && dotnet_suits dotnet; then return 0; fi
  # A minimal machine has no ICU, without which no .NET program starts unless told so; nothing here needs cultures.
  export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
  if have dotnet && dotnet_suits dotnet; then return 0; fi

  local folder="$ROOT/.dotnet" version
  ensure_tools curl:curl
  if has_apt; then apt_ensure ca-certificates libstdc++6; fi
  if ! { [[ -x "$folder/dotnet" ]] && dotnet_suits "$folder/dotnet"; }; then
    version="$(sed -n 's/.*"version"[^"]*"\([^"]*\)".*/\1/p' "$ROOT/global.json" | head -n 1)"
    step "Installing the .NET SDK $version into .dotnet/"
    local script="$ARTIFACTS/dotnet-install.sh"
    curl -fsSL --retry 3 -o "$script" https://dot.net/v1/dotnet-install.sh ||
      die "Could not fetch Microsoft's .NET install script (https://dot.net/v1/dotnet-install.sh)." \
        "Check the network, or install the .NET SDK $version yourself so that 'dotnet --version' works here."
    run_logged dotnet-install bash "$script" --jsonfile "$ROOT/global.json" --install-dir "$folder" --no-path
    dotnet_suits "$folder/dotnet" ||
      die "The SDK in .dotnet/ does not start." "Remove .dotnet/ and run again; see $LOGS/dotnet-install.log"
  fi
  export DOTNET_ROOT="$folder" PATH="$folder:$PATH"
}

# --- the container engine ------------------------------------------------------------------------------------------

engine_answers() { have docker && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# ensure_engine STATEFILE: an engine answers afterwards. If this had to start dockerd, STATEFILE says how to stop it.
ensure_engine() {
  local state="$1"
  if engine_answers; then return 0; fi

  if ! have dockerd; then
    if have docker && [[ -n "${DOCKER_HOST:-}" ]]; then
      die "The engine that DOCKER_HOST names ($DOCKER_HOST) does not answer." "Start it, or unset DOCKER_HOST."
    fi
    if [[ "$(uname -s)" != Linux ]]; then
      die "No Docker engine answers." "Start Docker Desktop (or another engine), then run this command again."
    fi
    if ! has_apt; then
      die "No Docker engine answers and this is neither Debian nor Ubuntu." \
        "Install and start Docker Engine, iptables, nftables and iproute2, then run this command again."
    fi
    apt_ensure docker.io iptables nftables iproute2 ca-certificates
    # Newer releases ship the command line on its own.
    have docker || apt_ensure docker-cli
    hash -r
    if engine_answers; then return 0; fi
  fi

  can_be_root || die "No Docker engine answers, and starting one needs root." \
    "Run:  sudo dockerd &     (or start the docker service), and see that your user may use it (group docker)."

  step "Starting the Docker engine"
  # With forwarding on beforehand dockerd leaves the FORWARD policy alone, so pods of several nodes reach each other.
  as_root sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' 2>/dev/null || true
  mkdir -p "$(dirname "$state")"
  if [[ -d /run/systemd/system ]] && systemctl cat docker.service >/dev/null 2>&1; then
    as_root systemctl start docker.service || die "'systemctl start docker' failed." "See: journalctl -u docker"
    echo systemd >"$state"
  else
    start_dockerd "$state"
  fi
  local second
  for ((second = 0; second < 300; second++)); do
    if engine_answers; then ok "engine $(docker version --format '{{.Server.Version}}') answers"; return 0; fi
    if ! is_root && [[ -S /var/run/docker.sock && ! -w /var/run/docker.sock ]]; then
      die "The engine runs, but your user may not use it." "Run:  sudo usermod -aG docker $(id -un)    and log in again."
    fi
    sleep 0.2
  done
  [[ ! -f "$LOGS/dockerd.log" ]] || tail -n 20 "$LOGS/dockerd.log" >&2
  die "The Docker engine did not answer within 60 seconds." "Its log is $LOGS/dockerd.log"
}

start_dockerd() {
  local state="$1" pidfile file pid
  # A killed engine leaves its pid files; a number that is no dockerd (or containerd) any more blocks the next start.
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    [[ -f "$file" ]] || continue
    pid="$(cat "$file" 2>/dev/null || true)"
    if [[ -z "$pid" ]] || ! grep -qsE '^(dockerd|containerd)$' "/proc/$pid/comm"; then as_root rm -f "$file"; fi
  done
  if ! mountpoint -q /sys/fs/cgroup && [[ ! -f /sys/fs/cgroup/cgroup.controllers ]]; then
    apt_ensure cgroupfs-mount
    as_root cgroupfs-mount
  fi
  pidfile=/var/run/docker.pid
  as_root setsid nohup dockerd --pidfile "$pidfile" >"$LOGS/dockerd.log" 2>&1 </dev/null &
  local tick
  for ((tick = 0; tick < 50; tick++)); do
    [[ ! -s "$pidfile" ]] || break
    sleep 0.1
  done
  [[ -s "$pidfile" ]] || { tail -n 20 "$LOGS/dockerd.log" >&2; die "dockerd did not start." "Its log is $LOGS/dockerd.log"; }
  cp "$pidfile" "$state"
}

# stop_engine STATEFILE: stops the engine if ensure_engine with this file started it; never another one.
stop_engine() {
  local state="$1" how tick
  [[ -f "$state" ]] || return 0
  how="$(cat "$state")"
  if [[ "$how" == systemd ]]; then
    step "Stopping the Docker engine (started by us)"
    as_root systemctl stop docker.service docker.socket
  elif grep -qsx dockerd "/proc/$how/comm"; then
    step "Stopping the Docker engine (started by us)"
    as_root kill -TERM "$how"
    for ((tick = 0; tick < 300; tick++)); do
      [[ -d "/proc/$how" ]] || break
      sleep 0.1
    done
    [[ ! -d "/proc/$how" ]] || warn "dockerd (process $how) has not ended within 30 seconds."
  fi
  rm -f "$state"
}

# --- small things --------------------------------------------------------------------------------------------------

# The platform's name in .NET's words.
runtime_identifier() {
  local os arch
  case "$(uname -s)" in Darwin) os=osx ;; *) os=linux ;; esac
  case "$(uname -m)" in aarch64 | arm64) arch=arm64 ;; *) arch=x64 ;; esac
  echo "$os-$arch"
}

hash_of_input() { if have sha256sum; then sha256sum; else shasum -a 256; fi | cut -c 1-16; }

# process_is PID NAME: that process lives and its program is NAME (a process number may have been given to another).
process_is() {
  local pid="$1" name="$2"
  [[ "$pid" =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null && ps -o args= -p "$pid" 2>/dev/null | grep -q -- "$name"
}
