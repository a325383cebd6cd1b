#!/usr/bin/env bash
# The guard that is not a timing: instructions for one operation with one worker, under callgrind, and system
# calls for one HTTP request at 64 connections, under strace. It fails if a count is more than a tenth above
# its bound in benches/instructions.txt. callgrind follows switches of stacks correctly: its counts agree to
# one percent with those of cachegrind, which ignores stacks. valgrind knows neither epoll_pwait2 nor
# process_madvise, so this counts their fallbacks.
. "$(dirname "$0")/common.sh"
bounds=benches/instructions.txt
missing=()
for tool in valgrind strace wrk; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}" >/dev/null || true
fi
has() { # tool, what is skipped without it
    command -v "$1" >/dev/null || { echo "skipped: $2: $1 is not installed"; return 1; }
}
within 900 cargo build --release -q -p sward-bench
bench=${CARGO_TARGET_DIR:-target}/release/sward-bench
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
failed=0

hold() { # name, figure: against the bound
    awk -v name="$1" -v figure="$2" '
        $1 == name {
            known = 1
            high = figure > $2 * 1.1
            printf "%-12s %10.2f, bound %.2f%s\n", name, figure, $2, high ? ": more than a tenth above" : ""
            if (figure < $2 * 0.8) print "  the bound may come down"
            exit high
        }
        END { if (!known) { print name ": no bound in the file"; exit 1 } }' "$bounds" || failed=1
}

collected() { awk '/Collected/ { print $4 }' "$scratch/valgrind"; }

# The workload first runs a tenth as long, uncounted by itself but counted here: hence the 1.1.
difference() { awk -v once="$1" -v twice="$2" -v n="$3" -v share="$4" 'BEGIN { print (twice - once) / (n * share) }'; }

callgrind=(valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" --log-file="$scratch/valgrind")

computed() { # tasks, partners, workload, operations: instructions for one
    local counts=()
    for n in "$4" $(($4 * 2)); do
        within 300 "${callgrind[@]}" "$bench" child sward "$3" "$1" "$2" "$n" 1 >/dev/null
        counts+=("$(collected)")
    done
    difference "${counts[@]}" "$4" 1.1
}

# Starts a server with that many workers under the given command. `stop` ends it by closing its input.
serve() { # service, workers, command...
    local service=$1 workers=$2
    shift 2
    coproc server { exec "$@" "$bench" serve sward "$service" "$workers"; }
    # The shell forgets these names when the server ends.
    input=${server[1]} pid=$server_PID
    read -r -t 60 port <&"${server[0]}"
}
stop() {
    eval "exec $input>&-"
    wait "$pid"
}

# With 64 connections the worker hardly ever sleeps. How often it sleeps depends on time, and would disturb
# the count.
requested() { # requests: instructions for one
    local counts=()
    for n in "$1" $(($1 * 2)); do
        serve echo 1 "${callgrind[@]}"
        within 300 "$bench" load "$port" 64 64 0 "$n" >/dev/null
        stop
        counts+=("$(collected)")
    done
    difference "${counts[@]}" "$1" 1
}

if has valgrind "instructions"; then
    hold spawn "$(computed 1 1 spawn 20000)"
    hold yield "$(computed 2 1 yield 20000)"
    hold pingpong "$(computed 1 0 pingpong 20000)"
    hold request "$(requested 5000)"
fi

# strace slows down the calls that it counts, so calls that come by time and not by request would weigh more.
# So there are two runs. One counts the calls that move data, whose number does not depend on speed. The other
# counts the rest, and slows down only these few.
calls_of() { # which: system calls for one request
    serve http 2 strace -f --seccomp-bpf -c -e trace="$1" -o "$scratch/strace"
    local requests
    requests=$(within 60 wrk -t1 -c64 -d3s "http://127.0.0.1:$port/" | awk '/requests in/ { print $1 }')
    stop
    head -7 "$scratch/strace" >&2
    awk -v requests="$requests" '
        $1 ~ /^[0-9.]+$/ && $NF != "total" { calls += $4 }
        END {
            if (!calls || !requests) exit 1
            print calls / requests
        }' "$scratch/strace"
}

if has strace "system calls" && has wrk "system calls"; then
    data=$(calls_of sendto,recvfrom)
    rest=$(calls_of '!sendto,recvfrom')
    hold syscalls "$(awk -v data="$data" -v rest="$rest" 'BEGIN { print data + rest }')"
fi
exit $failed
