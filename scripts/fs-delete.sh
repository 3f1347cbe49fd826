#!/usr/bin/env bash
# Delete an object; deleting one that is not there is no error.
# Usage: scripts/fs-delete.sh BUCKET KEY
set -euo pipefail
# shellcheck source=scripts/fs-common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/fs-common.sh"

[[ $# -eq 2 && -n $1 && -n $2 ]] || fs_fail "usage: fs-delete.sh BUCKET KEY (make delete BUCKET= KEY=)" 2
fs_need_programs curl openssl
fs_settings

path=$(fs_object_path "$1" "$2")
answer=$(mktemp)
FS_TEMP_FILES+=("$answer")
status=$(fs_request DELETE "$path" "$FS_EMPTY_SHA256" "$answer") || fs_fail "no answer from $FS_ENDPOINT"
[[ $status == 204 || $status == 200 ]] || fs_fail "DELETE $path: $status $(<"$answer")"
printf 'deleted %s\n' "$path"
