#!/bin/sh
# Make .venv with Python 3.11 if it is not there, and install one requirements file into it.
# Usage: scripts/python-env.sh REQUIREMENTS
set -eu

requirements=$1
is_311='import sys; sys.exit(sys.version_info[:2] != (3, 11))'
python=
for candidate in python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$is_311" 2>/dev/null; then
        python=$candidate
        break
    fi
done

missing=
[ -n "$python" ] || missing="python3.11 python3-venv"
if [ -n "$python" ] && ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    missing=python3-venv
fi
if [ -n "$missing" ]; then
    echo "missing: $missing; install with: sudo apt-get update && sudo apt-get install -y $missing" >&2
    exit 1
fi

if ! .venv/bin/python -c "$is_311" 2>/dev/null || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    echo "making .venv ..." >&2
    "$python" -m venv --clear .venv
fi
echo "installing $requirements into .venv ..." >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
