# Sourced by the pages: where Redis is, and how to talk to it.
# A pod gets the addresses of the services of its namespace as variables (those that existed when it started).
leader_host="${REDIS_LEADER_SERVICE_HOST:-}" leader_port="${REDIS_LEADER_SERVICE_PORT:-6379}"
follower_host="${REDIS_FOLLOWER_SERVICE_HOST:-$leader_host}" follower_port="${REDIS_FOLLOWER_SERVICE_PORT:-$leader_port}"
list=guestbook
longest=200

# redis HOST PORT WORD...: sends one command as an array of bulk strings, then QUIT so that the server closes; prints
# the raw reply. Lengths are in bytes, so the locale must be C.
redis() {
  [ -n "$1" ] || { echo "-ERR the service of Redis did not exist when this pod started"; return; }
  redis_host="$1" redis_port="$2"
  shift 2
  {
    printf '*%d\r\n' $#
    for word in "$@"; do printf '$%d\r\n%s\r\n' "$(printf %s "$word" | wc -c)" "$word"; done
    printf '*1\r\n$4\r\nQUIT\r\n'
  } | timeout 3 nc -w 2 "$redis_host" "$redis_port" 2>/dev/null | tr -d '\r'
}

# The entries of an array reply, one per line; nothing for anything else. Entries hold no line ends (see clean).
entries() { awk 'NR == 1 { if ($0 !~ /^\*/) exit; left = substr($0, 2) * 2; next } left > 0 { if (left % 2) print; left-- }'; }

# From a query string or form body: the decoded value of one field, without control characters, cut to a fair length.
field() {
  raw="$(printf '%s' "$2" | tr '&' '\n' | sed -n "s/^$1=//p" | head -n 1 | cut -c 1-1000)"
  httpd -d "$raw" | tr -d '\000-\037\177' | cut -c 1-"$longest"
}

escape() { sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g' -e 's/"/\&quot;/g' -e "s/'/\&#39;/g"; }

# answer STATUS TYPE: the head of a response.
answer() { printf 'Status: %s\r\nContent-Type: %s; charset=utf-8\r\nCache-Control: no-store\r\n' "$1" "$2"; }
