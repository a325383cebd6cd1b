# Sourced by the scripts of this folder: strict mode, and the root of the repository as the working folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Runs a command that must end: a hang is a failure with a name.
within() {
    local seconds=$1
    shift
    timeout --kill-after=10 "$seconds" "$@" || {
        local status=$?
        [ "$status" = 124 ] && echo "ci: no end after $seconds s: $*" >&2
        return "$status"
    }
}
