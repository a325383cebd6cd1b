#!/usr/bin/env bash
# The guard that is not a timing: instructions for one operation with one worker, under callgrind, and system
# calls for one HTTP request at 64 connections, under strace, in pinned mode and with mobile homes. It fails if a
# count is more than a tenth above its bound in benches/instructions.txt, or if homes take more than the ratio there
# of what pinned mode takes. callgrind follows switches of stacks correctly: its counts agree to one percent
# with those of cachegrind, which ignores stacks. valgrind knows neither epoll_pwait2 nor process_madvise, so this
# counts their fallbacks. It does not know wrfsbase either: the build sets the thread pointer by a system call
# (`--cfg sward_valgrind`), which is not counted below.
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
export RUSTFLAGS="--cfg sward_valgrind" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/valgrind"
within 900 cargo build --release -q -p sward-bench
bench=$CARGO_TARGET_DIR/release/sward-bench
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
failed=0

hold() { # name, figure: against the bound
    awk -v name="$1" -v figure="$2" '
        $1 == name {
            known = 1
            high = figure > $2 * 1.1
            printf "%-15s %10.2f, bound %.2f%s\n", name, figure, $2, high ? ": more than a tenth above" : ""
            if (figure < $2 * 0.8) print "  the bound may come down"
            exit high
        }
        END { if (!known) { print name ": no bound in the file"; exit 1 } }' "$bounds" || failed=1
}

compare() { # name, figure in pinned mode, with homes: against the most that their ratio may be
    awk -v name="$1" -v pinned="$2" -v homes="$3" '
        $1 == name && NF == 3 {
            known = 1
            high = homes > pinned * $3
            printf "%-15s %10.3f times pinned mode, at most %.2f", name, homes / pinned, $3
            print high ? ": above" : ""
            exit high
        }
        END { if (!known) { print name ": no ratio in the file"; exit 1 } }' "$bounds" || failed=1
}

collected() { awk '/Collected/ { print $4 }' "$scratch/valgrind"; }

# The workload first runs a tenth as long, uncounted by itself but counted here: hence the 1.1.
difference() { awk -v once="$1" -v twice="$2" -v n="$3" -v share="$4" 'BEGIN { print (twice - once) / (n * share) }'; }

callgrind=(valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" --log-file="$scratch/valgrind")

computed() { # peer, tasks, partners, workload, operations: instructions for one
    local peer=$1
    shift
    local counts=()
    for n in "$4" $(($4 * 2)); do
        within 300 "${callgrind[@]}" "$bench" child "$peer" "$3" "$1" "$2" "$n" 1 >/dev/null
        counts+=("$(collected)")
    done
    difference "${counts[@]}" "$4" 1.1
}

# Starts a server with that many workers under the given command. `stop` ends it by closing its input.
serve() { # peer, service, workers, command...
    local peer=$1 service=$2 workers=$3
    shift 3
    coproc server { exec "$@" "$bench" serve "$peer" "$service" "$workers"; }
    # The shell forgets these names when the server ends.
    input=${server[1]} pid=$server_PID
    read -r -t 60 port <&"${server[0]}"
}
stop() {
    eval "exec $input>&-"
    wait "$pid"
}

# With 64 connections the worker hardly ever sleeps. How often it sleeps depends on time, and would disturb the count.
# With homes a tick that finds the worker in a slice costs some more, so the least of three counts holds.
requested() { # peer, requests: instructions for one
    local counts peer=$1 least=
    shift
    for round in 1 2 3; do
        counts=()
        for n in "$1" $(($1 * 2)); do
            serve "$peer" echo 1 "${callgrind[@]}"
            within 300 "$bench" load "$port" 64 64 0 "$n" >/dev/null
            stop
            counts+=("$(collected)")
        done
        least=$({ echo "$least"; difference "${counts[@]}" "$1" 1; } | grep . | sort -g | head -n 1)
    done
    echo "$least"
}

both() { # name, the function that counts, its arguments
    local name=$1 count=$2 pinned homes
    shift 2
    pinned=$($count sward "$@")
    hold "$name" "$pinned"
    [ "$with_homes" = 1 ] || return 0
    homes=$($count sward-homes "$@")
    hold "homes-$name" "$homes"
    compare "homes-$name" "$pinned" "$homes"
}

if has valgrind "instructions"; then
    with_homes=1
    reason=$("${callgrind[@]}" "$bench" homes) || {
        with_homes=0
        echo "skipped: instructions with homes: $reason"
    }
    both spawn computed 1 1 spawn 20000
    both yield computed 2 1 yield 20000
    both pingpong computed 1 0 pingpong 20000
    both request requested 5000
fi

# strace slows down the calls that it counts, so calls that come by time and not by request would weigh more.
# So there are two runs. One counts the calls that move data, whose number does not depend on speed. The other
# counts the rest, and slows down only these few.
calls_of() { # peer, which: system calls for one request
    serve "$1" http 2 strace -f --seccomp-bpf -c -e trace="$2" -o "$scratch/strace"
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

called() { # peer: system calls for one request
    local data rest
    data=$(calls_of "$1" sendto,recvfrom)
    rest=$(calls_of "$1" '!sendto,recvfrom,arch_prctl')
    awk -v data="$data" -v rest="$rest" 'BEGIN { print data + rest }'
}

# Homes are held against their bound only: how often the workers sleep differs more from run to run than the
# modes may differ.
if has strace "system calls" && has wrk "system calls"; then
    hold syscalls "$(called sward)"
    if reason=$("$bench" homes); then
        hold homes-syscalls "$(called sward-homes)"
    else
        echo "skipped: system calls with homes: $reason"
    fi
fi
exit $failed
