#!/usr/bin/env bash
# Runs once before everything else of docker-compose.yml, and again at every `up`: makes what is missing, changes nothing
# that is there. Authority, token and Redis' password never leave their volumes, but for the operator's kubeconfig and token.
set -euo pipefail
umask 077

VOLUME=/var/lib/orleanscluster
SECRETS=/run/secrets
APP=1654 REDIS=999   # the users of the .NET and the Redis image

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }

[[ -s $VOLUME/token ]] || { random >"$VOLUME/token.new"; echo >>"$VOLUME/token.new"; mv "$VOLUME/token.new" "$VOLUME/token"; }
orleanscluster pki init --data "$VOLUME"

# A folder for each process: all have the authority, none writes where another one reads.
share() {
  local owner="$1" role file
  shift
  for role in "$@"; do
    mkdir -p "$VOLUME/$role/pki"
    for file in pki/ca.crt pki/ca.key token; do
      [[ -s "$VOLUME/$role/$file" ]] || { cp "$VOLUME/$file" "$VOLUME/$role/$file.new" && mv "$VOLUME/$role/$file.new" "$VOLUME/$role/$file"; }
    done
    chown -R "$owner" "$VOLUME/$role"
  done
}
share "$APP:$APP" silo-1 silo-2 api-1 api-2
share 0:0 worker-1 worker-2 proxy
chmod 711 "$VOLUME"

[[ -s $SECRETS/redis-password ]] || { random >"$SECRETS/redis-password.new"; mv "$SECRETS/redis-password.new" "$SECRETS/redis-password"; }
printf 'requirepass %s\n' "$(cat "$SECRETS/redis-password")" >"$SECRETS/redis.conf"
chown "$APP:$APP" "$SECRETS/redis-password"
chown "$REDIS:$REDIS" "$SECRETS/redis.conf"
chmod 755 "$SECRETS"
# An empty volume would get the owner that the folder has in Redis' image.
mkdir -p /data/appendonlydir
chown "$REDIS:$REDIS" /data /data/appendonlydir

# The operator's files, for whoever owns the folder that docker-compose.yml is in.
owner="$(stat -c %u:%g /usr/local/bin/init-cluster)"
chown "$owner" "$OUT"
encoded() { base64 <"$1" | tr -d '\n'; }
cat >"$OUT/kubeconfig" <<KUBECONFIG
apiVersion: v1
kind: Config
clusters:
- name: orleanscluster
  cluster:
    server: $API_URL
    certificate-authority-data: $(encoded "$VOLUME/pki/ca.crt")
users:
- name: kubernetes-admin
  user:
    client-certificate-data: $(encoded "$VOLUME/pki/admin.crt")
    client-key-data: $(encoded "$VOLUME/pki/admin.key")
contexts:
- name: orleanscluster
  context:
    cluster: orleanscluster
    user: kubernetes-admin
current-context: orleanscluster
KUBECONFIG
cp "$VOLUME/token" "$OUT/token"
cp "$VOLUME/pki/ca.crt" "$OUT/ca.crt"
# By this the pods' containers are found: docker ps --filter label=orleanscluster.io/cluster=ID (infra/down --purge does).
sed '/-----/d' "$VOLUME/pki/ca.crt" | base64 -d | sha256sum | cut -c 1-12 >"$OUT/cluster-id"
chown "$owner" "$OUT"/{kubeconfig,token,ca.crt,cluster-id}
# Node agents keep their pods' files on the machine and their certificates in the volume.
for worker in worker-1 worker-2; do
  mkdir -p "$OUT/$worker"
  ln -sfn "$VOLUME/$worker/pki" "$OUT/$worker/pki"
done
echo "kubeconfig: $OUT/kubeconfig"
