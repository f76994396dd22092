#!/bin/sh
# Write the secrets of a new installation into the folder `secrets`, once. Keep a copy of authenticator-1
# elsewhere: the tokens that your applications store cannot be opened without it.
set -eu
cd "$(dirname "$0")"
[ ! -e secrets ] || { echo 'secrets exists: nothing was changed' >&2; exit 1; }
umask 077
mkdir secrets
for name in pepper-1 seal-1 state-1 pseudonym-1 limit-1 authenticator-1 unused-1 unused-2 unused-3 unused-4; do
  openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n' >"secrets/$name"
done
otp-service audit key secrets/audit.pem
mv secrets/audit.pem.pub audit.pub
chmod a+r audit.pub
echo 'Now write secrets/gateway, secrets/redis-password and secrets/redis-ca.pem.'
