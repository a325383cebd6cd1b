# The scripts of this folder source this: strict mode, and the root of the repository as working folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# For release builds that are run once: LTO takes longer than they run. `ci/migrating.sh` and `ci/instructions.sh`
# test and measure what LTO makes of the code.
without_lto() {
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
}

# Runs a command with a time limit, so that a hang becomes an error that names the command.
within() {
    local seconds=$1
    shift
    timeout --kill-after=10 "$seconds" "$@" || {
        local status=$?
        [ "$status" = 124 ] && echo "ci: no end after $seconds s: $*" >&2
        return "$status"
    }
}

# Compiles the crates of this workspace with a cfg. RUSTFLAGS would compile their dependencies anew as well, which
# know nothing of it.
with_cfg() { # name
    local folder=${CARGO_TARGET_DIR:-target}/with-cfg
    mkdir -p "$folder"
    # Cargo tells the artifacts of different wrappers apart by the wrappers' paths.
    printf '#!/bin/sh\nexec "$@" --cfg %s\n' "$1" >"$folder/$1"
    chmod +x "$folder/$1"
    export RUSTC_WORKSPACE_WRAPPER=$(realpath "$folder/$1")
}

# The head of the answer to a WebSocket handshake, with the key of RFC 6455.
upgrade() { # port, further header lines
    local line
    exec 4<>"/dev/tcp/127.0.0.1/$1"
    printf '%s\r\n' 'GET / HTTP/1.1' "Host: 127.0.0.1:$1" 'Connection: Upgrade' 'Upgrade: websocket' \
        'Sec-WebSocket-Version: 13' 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "${@:2}" '' >&4
    while read -r -t 60 -u 4 line && [ "$line" != $'\r' ]; do echo "${line%$'\r'}"; done
    exec 4>&-
}
