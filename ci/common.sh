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
