#!/usr/bin/env bash
# Fetch an object into a file, which appears only once it is complete; - or nothing means standard output.
# Usage: scripts/fs-get.sh BUCKET KEY [OUT]
set -euo pipefail
# shellcheck source=scripts/fs-common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/fs-common.sh"

[[ $# -ge 2 && $# -le 3 && -n $1 && -n $2 ]] || fs_fail "usage: fs-get.sh BUCKET KEY [OUT] (make get BUCKET= KEY= OUT=)" 2
bucket=$1 key=$2 out=${3:--}
fs_need_programs curl openssl
fs_settings

path=$(fs_object_path "$bucket" "$key")
if [[ $out == - ]]; then
    answer=$(mktemp)
else
    answer=$(mktemp -- "$out.part.XXXXXX")
fi
FS_TEMP_FILES+=("$answer")
status=$(fs_request GET "$path" "$FS_EMPTY_SHA256" "$answer") || fs_fail "no complete answer from $FS_ENDPOINT"
[[ $status == 200 ]] || fs_fail "GET $path: $status $(tr -d '\0' <"$answer")"
if [[ $out == - ]]; then
    cat -- "$answer"
else
    chmod "$(printf '%o' $((0666 & ~$(umask))))" -- "$answer"
    mv -f -- "$answer" "$out"
    printf 'fetched %s into %s (%s bytes)\n' "$path" "$out" "$(wc -c <"$out")"
fi
