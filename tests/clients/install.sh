#!/usr/bin/env bash
# Install the S3 programs that `make test-clients` runs and that are not there yet: awscli 2, rclone and restic by apt (as root),
# mc by Go, litestream, pandas and what goes with it by pip. Into CLIENTS_DIR (.venv-clients unless set), what apt brings into the system.
# A program that cannot be had is named with the reason and left out; its tests skip themselves.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." || exit 1

clients=${CLIENTS_DIR:-.venv-clients}
mkdir -p "$clients/bin"
clients=$(cd -- "$clients" && pwd)

left_out() {
    echo "$1: left out: $2" >&2
}

# $1: package; the rest: a command that succeeds when it is there.
by_apt() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    if ! command -v apt-get >/dev/null 2>&1; then
        left_out "$package" "not installed, and no apt-get"
    elif [[ $(id -u) -ne 0 ]]; then
        left_out "$package" "not installed, and not root: sudo apt-get install -y $package"
    else
        export DEBIAN_FRONTEND=noninteractive
        [[ -n ${apt_updated:-} ]] || timeout 120 apt-get update -qq || true
        apt_updated=yes
        echo "installing $package ..." >&2
        timeout 300 apt-get install -y -qq --no-install-recommends "$package" >"$clients/$package.log" 2>&1 ||
            left_out "$package" "apt-get failed: $(tail -1 "$clients/$package.log")"
    fi
}

# $1: name of the environment; its requirements are tests/clients/$1-requirements.txt.
by_pip() {
    local folder=$clients/$1 requirements=tests/clients/$1-requirements.txt
    cmp -s "$requirements" "$folder/installed.txt" && return
    echo "installing $requirements into $folder ..." >&2
    if { python3.11 -m venv --clear "$folder" || python3 -m venv --clear "$folder"; } >"$clients/$1.log" 2>&1 &&
        timeout 300 "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >>"$clients/$1.log" 2>&1; then
        cp "$requirements" "$folder/installed.txt"
    else
        left_out "$requirements" "pip failed: $(tail -1 "$clients/$1.log")"
        rm -rf -- "$folder"
    fi
}

# $1: program; $2: its module.
by_go() {
    [[ -x $clients/bin/$1 ]] && return
    if ! command -v go >/dev/null 2>&1; then
        left_out "$1" "it is built with Go, which is not installed"
        return
    fi
    echo "building $1 ..." >&2
    GOBIN=$clients/bin timeout 600 go install "$2" >"$clients/$1.log" 2>&1 || left_out "$1" "go install failed: $(tail -1 "$clients/$1.log")"
}

by_apt awscli test -f /usr/lib/python3/dist-packages/awscli/__init__.py
by_apt rclone command -v rclone
by_apt restic command -v restic
by_pip data
by_pip crt
by_pip litestream
by_go mc github.com/minio/mc@latest
