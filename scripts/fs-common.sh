# shellcheck shell=bash
# What the fs-*.sh scripts share: settings, percent-encoding, and requests signed by the x-fs scheme with openssl and curl.
# To be sourced. No secret is ever an argument of a program, where `ps` would show it: the HMAC is made of two plain hashes whose
# keyed blocks go through a pipe, and curl reads its headers from standard input.

set -euo pipefail
LC_ALL=C

FS_TEMP_FILES=()
trap 'rm -f -- "${FS_TEMP_FILES[@]}"' EXIT

fs_fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# Take NAME=VALUE lines of a file for names that are not set yet. Nothing in the file is executed or expanded.
fs_read_env_file() {
    local line name value
    local assignment='^[[:space:]]*(export[[:space:]]+)?((FS|AWS|MINIO)_[A-Z0-9_]+)[[:space:]]*=[[:space:]]*(.*)$'
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line%$'\r'}
        [[ $line =~ $assignment ]] || continue
        name=${BASH_REMATCH[2]} value=${BASH_REMATCH[4]}
        case $value in
            \'*) value=${value#\'} value=${value%%\'*} ;;
            \"*) value=${value#\"} value=${value%%\"*} ;;
            \#*) value= ;;
            *)
                value=${value%%[[:space:]]\#*}
                value=${value%"${value##*[![:space:]]}"}
                ;;
        esac
        # The environment wins, also when it has the other form of the same secret.
        local other=${name}_FILE
        if [[ $name == *_FILE ]]; then other=${name%_FILE}; fi
        if [[ -z ${!name+set} && ( $name != FS_* || -z ${!other-} ) ]]; then
            printf -v "$name" '%s' "$value"
        fi
    done <"$1"
}

# Settings: FS_ENDPOINT, FS_CA_CERT (as FS_CURL_TLS, for curl), FS_ACCESS_KEY, FS_SECRET_KEY, with the node's own fallbacks.
fs_settings() {
    local root
    root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
    if [[ -f .env ]]; then
        fs_read_env_file .env
    elif [[ -f $root/.env ]]; then
        fs_read_env_file "$root/.env"
    fi
    if [[ -n ${FS_SECRET_KEY_FILE-} && -z ${FS_SECRET_KEY-} ]]; then
        FS_SECRET_KEY=$(<"$FS_SECRET_KEY_FILE") || fs_fail "FS_SECRET_KEY_FILE cannot be read"
    fi
    if [[ -z ${FS_ACCESS_KEY-} && -z ${FS_SECRET_KEY-} ]]; then
        if [[ -n ${AWS_ACCESS_KEY_ID-} && -n ${AWS_SECRET_ACCESS_KEY-} ]]; then
            FS_ACCESS_KEY=$AWS_ACCESS_KEY_ID FS_SECRET_KEY=$AWS_SECRET_ACCESS_KEY
        elif [[ -n ${MINIO_ROOT_USER-} && -n ${MINIO_ROOT_PASSWORD-} ]]; then
            FS_ACCESS_KEY=$MINIO_ROOT_USER FS_SECRET_KEY=$MINIO_ROOT_PASSWORD
        fi
    fi
    FS_CURL_TLS=()
    if [[ -n ${FS_CA_CERT-} ]]; then
        FS_CURL_TLS=(--cacert "$FS_CA_CERT")
    elif [[ -z ${FS_ENDPOINT-} && -n ${FS_TLS_CERT_PATH-} ]]; then
        # A certificate that signed itself is its own proof; for another, FS_ENDPOINT must carry the name that it was made for.
        FS_CURL_TLS=(--cacert "$FS_TLS_CERT_PATH")
    fi
    if [[ -z ${FS_ENDPOINT-} ]]; then
        FS_ENDPOINT=http${FS_TLS_CERT_PATH:+s}://127.0.0.1:9000
    fi
    FS_ENDPOINT=${FS_ENDPOINT%/}
    FS_ACCESS_KEY=${FS_ACCESS_KEY:-faster}
    FS_SECRET_KEY=${FS_SECRET_KEY:-faster-secret-key}
    # This machine is never behind a proxy.
    export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1,localhost,::1"
}

fs_need_programs() {
    local program missing=
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || missing+=" $program"
    done
    [[ -z $missing ]] || fs_fail "missing:$missing; install with: sudo apt-get install -y$missing"
}

# Standard input as lower-case hex.
fs_hex() {
    od -An -v -tx1 | tr -d ' \n'
}

# Standard input's SHA-256 in hex.
fs_sha256_hex() {
    openssl dgst -sha256 -r | cut -c1-64
}

# Print the bytes of a hex string. printf is the shell's own: its arguments are not a program's.
fs_print_hex() {
    local hex=$1 escaped='' at
    for ((at = 0; at < ${#hex}; at += 2)); do
        escaped+="\\x${hex:at:2}"
    done
    printf '%b' "$escaped"
}

# HMAC-SHA256 (RFC 2104) of $2 with the key $1, in hex.
fs_hmac_sha256_hex() {
    local key_hex inner_hex='' outer_hex='' byte piece at
    key_hex=$(printf '%s' "$1" | fs_hex)
    if ((${#key_hex} > 128)); then
        key_hex=$(printf '%s' "$1" | fs_sha256_hex)
    fi
    for ((at = 0; at < 128; at += 2)); do
        byte=${key_hex:at:2}
        printf -v piece '%02x' $((0x${byte:-00} ^ 0x36))
        inner_hex+=$piece
        printf -v piece '%02x' $((0x${byte:-00} ^ 0x5c))
        outer_hex+=$piece
    done
    local inner_digest
    inner_digest=$({ fs_print_hex "$inner_hex"; printf '%s' "$2"; } | fs_sha256_hex)
    { fs_print_hex "$outer_hex"; fs_print_hex "$inner_digest"; } | fs_sha256_hex
}

# Percent-encode all but the unreserved characters and the slash.
fs_percent_encode() {
    local text=$1 encoded='' character at
    for ((at = 0; at < ${#text}; at++)); do
        character=${text:at:1}
        case $character in
            [A-Za-z0-9._~/-]) encoded+=$character ;;
            *)
                # In the C locale a byte over 127 comes out negative.
                printf -v character '%%%02X' $(($(printf '%d' "'$character") & 255))
                encoded+=$character
                ;;
        esac
    done
    printf '%s' "$encoded"
}

# The path of an object on the wire. A slash at the end is encoded too, or curl would append the name of the uploaded file.
fs_object_path() {
    local path
    [[ -n $1 && -n $2 ]] || fs_fail "bucket and key must not be empty" 2
    [[ $1 != */* ]] || fs_fail "a bucket's name has no slash" 2
    path=/$(fs_percent_encode "$1")/$(fs_percent_encode "$2")
    if [[ $path == */ ]]; then path=${path%/}%2F; fi
    printf '%s' "$path"
}

# A header line for curl's configuration, quoted as it asks for.
fs_config_header() {
    local value=$2
    value=${value//\\/\\\\}
    value=${value//\"/\\\"}
    printf 'header = "%s: %s"\n' "$1" "$value"
}

# Send one signed request. $1 method, $2 path as sent, $3 payload's SHA-256 in hex, $4 file for the answer's body; the rest goes to
# curl. Prints the status; no answer ends the script.
fs_request() {
    local method=$1 path=$2 payload_sha256=$3 answer=$4 timestamp signature
    shift 4
    timestamp=$(date +%s)
    signature=$(fs_hmac_sha256_hex "$FS_SECRET_KEY" "$method"$'\n'"$path"$'\n\n'"$timestamp"$'\n'"$payload_sha256")
    {
        fs_config_header x-fs-access-key "$FS_ACCESS_KEY"
        fs_config_header x-fs-timestamp "$timestamp"
        fs_config_header x-fs-content-sha256 "$payload_sha256"
        fs_config_header x-fs-signature "$signature"
    } | curl --config - "${FS_CURL_TLS[@]}" --silent --show-error --globoff --path-as-is --request "$method" --output "$answer" \
        --write-out '%{http_code}' "$@" "$FS_ENDPOINT$path"
}

# For the scripts that send no body.
# shellcheck disable=SC2034
FS_EMPTY_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
