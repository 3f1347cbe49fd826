#!/usr/bin/env bash
# Ask a node whether it is alive and ready; the exit code is 0 only if it is both.
# Usage: scripts/fs-health.sh
set -euo pipefail
# shellcheck source=scripts/fs-common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/fs-common.sh"

fs_need_programs curl
fs_settings

answer=$(mktemp)
FS_TEMP_FILES+=("$answer")
good=true
for path in /healthz /readyz; do
    status=$(curl "${FS_CURL_TLS[@]}" --silent --show-error --max-time 10 --output "$answer" --write-out '%{http_code}' "$FS_ENDPOINT$path") ||
        fs_fail "$FS_ENDPOINT$path: no answer"
    printf '%s%s: %s %s\n' "$FS_ENDPOINT" "$path" "$status" "$(<"$answer")"
    [[ $status == 200 ]] || good=false
done
$good
