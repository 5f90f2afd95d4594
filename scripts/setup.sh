#!/bin/sh
# Installs rushes with everything it needs into .venv: a Python from the machine, wheels from its package registry, hashes
# from requirements.lock. Runs again only when one of the files it depends on has changed.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { say "rushes needs Python 3.11 or newer; install the package python3."; exit 1; }

wanted=$(cat requirements.lock pyproject.toml scripts/setup.sh | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest(), sys.version)')
if [ -f .venv/rushes-stamp ] && [ "$(cat .venv/rushes-stamp)" = "$wanted" ] && [ -x .venv/bin/rushes ]; then
    exit 0
fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
        rm -rf .venv
        minor=$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")')
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "Installing $minor, which Python needs to make a virtual environment …"
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$minor" >/dev/null
            "$python" -m venv .venv
        elif "$python" -m pip --version >/dev/null 2>&1; then
            # Debian without python3-venv but with pip: pip's own virtualenv needs no root.
            "$python" -m pip install --quiet --target .venv-tool virtualenv
            PYTHONPATH=.venv-tool "$python" -m virtualenv --quiet .venv
            rm -rf .venv-tool
        else
            say "Python cannot make virtual environments here. Install the package $minor (as root: apt-get install $minor)."
            exit 1
        fi
    fi
fi

say "Installing rushes and what it needs into .venv (about 1 GB; a minute on a good line) …"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
printf '%s\n' "$wanted" >.venv/rushes-stamp
