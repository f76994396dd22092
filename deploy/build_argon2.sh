#!/bin/sh
# Replaces the wheel of argon2-cffi in a Python environment by a build of its own, from the source
# package that requirements.lock pins, with the compiler's options in CFLAGS:
#
#   CFLAGS='-O3 -march=native' deploy/build_argon2.sh .venv/bin/python
#
# It needs a C compiler. What else a build needs is in requirements-native.lock, and is installed
# for the time of the build only. pip's cache is not used: it has builds with other options.
set -eu
python=$1
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
pip='-m pip --disable-pip-version-check --quiet'
"$python" -m venv "$tools"
"$tools/bin/python" $pip install --require-hashes --no-deps -r requirements-native.lock
sed -n '/^argon2-cffi-bindings==/,/[^\\]$/p' requirements.lock >"$tools/argon2.lock"
PATH="$tools/bin:$PATH" "$tools/bin/python" $pip wheel --require-hashes --no-deps --no-cache-dir \
  --no-build-isolation --no-binary argon2-cffi-bindings --wheel-dir "$tools" -r "$tools/argon2.lock"
"$python" $pip install --no-deps --no-index --force-reinstall "$tools"/*.whl
