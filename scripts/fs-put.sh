#!/usr/bin/env bash
# Store a file as an object; the bucket is made if it is missing.
# Usage: scripts/fs-put.sh FILE BUCKET KEY
set -euo pipefail
# shellcheck source=scripts/fs-common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/fs-common.sh"

[[ $# -eq 3 && -n $1 && -n $2 && -n $3 ]] || fs_fail "usage: fs-put.sh FILE BUCKET KEY (make put FILE= BUCKET= KEY=)" 2
file=$1 bucket=$2 key=$3
[[ -f $file && -r $file ]] || fs_fail "$file: not a readable file" 2
fs_need_programs curl openssl
fs_settings

path=$(fs_object_path "$bucket" "$key")
payload_sha256=$(fs_sha256_hex <"$file")
answer=$(mktemp)
FS_TEMP_FILES+=("$answer")
status=$(fs_request PUT "$path" "$payload_sha256" "$answer" --upload-file "$file") || fs_fail "no answer from $FS_ENDPOINT"
[[ $status == 200 ]] || fs_fail "PUT $path: $status $(<"$answer")"
printf 'stored %s (%s bytes)\n' "$path" "$(wc -c <"$file")"
