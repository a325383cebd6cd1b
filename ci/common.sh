# The scripts of this folder source this: strict mode, and the root of the repository as working folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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
