#!/bin/sh
# The page: a form, the messages, and which pod and backends answered.
export LC_ALL=C
. /usr/local/lib/guestbook/redis.sh
reply="$(redis "$follower_host" "$follower_port" LRANGE "$list" 0 -1)"
answer '200 OK' text/html
printf '\r\n'
cat <<PAGE
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Guestbook</title><link rel="stylesheet" href="/style.css"></head>
<body>
<main>
<h1>Guestbook</h1>
<form method="post" action="/cgi-bin/set">
<input name="value" maxlength="$longest" required autofocus placeholder="Say something"><button>Sign</button>
</form>
PAGE
case "$reply" in
  '*0'*) echo '<p class="note">No messages yet.</p>' ;;
  '*'*) echo '<ul>'; printf '%s\n' "$reply" | entries | escape | sed -e 's/^/<li>/' -e 's,$,</li>,'; echo '</ul>' ;;
  *) echo '<p class="error">No answer from a Redis follower.</p>' ;;
esac
cat <<PAGE
<footer>
Answered by pod <b>$(hostname | escape)</b>.
Reads from <code>$(printf %s "$follower_host:$follower_port" | escape)</code>, writes to <code>$(printf %s "$leader_host:$leader_port" | escape)</code>.
</footer>
</main>
</body>
</html>
PAGE
