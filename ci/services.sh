#!/usr/bin/env bash
# The two services in examples/services: their tests; notes on SQLite and on PostgreSQL; its page in headless
# Chromium, through the gateway; the gateway before three kinds of upstreams, driven by curl and wrk. Tools that
# cannot be installed are named, and what needs them is skipped.
. "$(dirname "$0")/common.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# Without optimization: the checks are of behaviour, and most of what the services need is built that way already.

missing=()
for tool in curl wrk chromium node npm; do command -v "$tool" >/dev/null || missing+=("$tool"); done
bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }
[ -n "$(bin)" ] || missing+=(postgresql)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get update -qq || true
    for package in "${missing[@]}"; do
        [ "$package" = node ] && package=nodejs
        timeout 200 apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
    done
fi

within 1000 cargo build -p example-services -p example-websocket
within 1000 cargo build --example http
program=$CARGO_TARGET_DIR/debug

scratch=$(mktemp -d)
chmod 755 "$scratch"
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT

expect() { # what it is, what is expected, what there is
    [ "$2" = "$3" ] || { echo "$1: expected '$2', got '$3'" >&2; exit 1; }
}

# A database of its own, as user `postgres` if this is root: the server refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else exec "$@"; fi
}
postgres() {
    local bin port=$((20000 + RANDOM % 10000)) data=$scratch/postgres
    bin=$(bin)
    [ -n "$bin" ] || { echo "skipped: PostgreSQL is not installed"; return; }
    mkdir "$data"
    [ "$(id -u)" != 0 ] || chown postgres "$data"
    (as_postgres "$bin/initdb" -D "$data" -U postgres -A trust --no-sync) >"$scratch/initdb.log" 2>&1 || {
        echo "skipped: initdb fails:"
        tail "$scratch/initdb.log"
        return
    }
    (as_postgres "$bin/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c fsync=off) >"$scratch/postgres.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 300); do
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && {
            export NOTES_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres
            return
        }
        sleep 0.1
    done
    echo "skipped: PostgreSQL does not start:"
    tail "$scratch/postgres.log"
}
postgres
# With the programs of the same profile. Checked waits and reports of stalls are for programs with less load.
within 1000 cargo test -p example-services

command -v curl >/dev/null || { echo "skipped: curl is not installed"; exit 0; }
address= admin= pid=
start() { # program, arguments...: sets $address, and $admin if it prints one
    local log=$scratch/${#pids[@]}.out
    : >"$log"
    "$@" >"$log" 2>"$log.err" &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 300); do
        address=$(sed -n 's,^serves [a-z]*://\(.*\)/$,\1,p' "$log")
        admin=$(sed -n 's,^admin [a-z]*://\(.*\)/$,\1,p' "$log")
        [ -n "$address" ] && return
        sleep 0.1
    done
    echo "$1 does not start" >&2
    cat "$log.err" >&2
    exit 1
}
status() { curl -s -o /dev/null -w '%{http_code}' --max-time 20 "$@"; }

start "$program/examples/http" 0 && hello=$address
start "$program/websocket" 0 && chat=$address
start "$program/notes" 127.0.0.1:0 --sqlite "$scratch/one.db" --log error && notes=$address one=$pid
start "$program/notes" 127.0.0.1:0 --sqlite "$scratch/tls.db" --self-signed "$scratch/own.pem" --log error
secure=$address
expect "notes over TLS" 200 "$(status --cacert "$scratch/own.pem" "https://localhost:${secure##*:}/notes")"
version=$(curl -s --cacert "$scratch/own.pem" -o /dev/null -w '%{http_version}' "https://localhost:${secure##*:}/")
expect "the protocol over TLS" 2 "$version"

# Before notes.
start "$program/gateway" 127.0.0.1:0 --upstream "$notes" --health /healthz --log error && front=$address
for title in one two three; do
    expect "a new note" 201 "$(status --json "{\"title\": \"$title\"}" "http://$front/notes")"
done
expect "the notes" '"one" "three" "two"' \
    "$(curl -s "http://$front/notes" | grep -o '"title":"[a-z]*"' | cut -d: -f2 | sort | tr '\n' ' ' | sed 's/ $//')"
expect "a foreign page" 415 "$(status -d '{"title": "x"}' "http://$front/notes")"

# The small one, on PostgreSQL.
if [ -n "${NOTES_POSTGRES:-}" ]; then
    start "$program/crud" "$NOTES_POSTGRES" 127.0.0.1:0
    created=$(curl -s --json '{"name": "one"}' "http://$address/items")
    id=$(sed 's/[^0-9]*\([0-9]*\).*/\1/' <<<"$created")
    expect "crud, read" "{\"id\":$id,\"name\":\"one\"}" "$(curl -s "http://$address/items/$id")"
    expect "crud, update" 200 "$(status -X PUT --json '{"name": "two"}' "http://$address/items/$id")"
    expect "crud, list" "[{\"id\":$id,\"name\":\"two\"}]" "$(curl -s "http://$address/items")"
    expect "crud, delete" 204 "$(status -X DELETE "http://$address/items/$id")"
    expect "crud, nothing" 404 "$(status "http://$address/items/$id")"
    [[ "$(curl -s "http://$address/metrics")" == *sward_worker_turns_total* ]] || { echo "crud: no metrics" >&2; exit 1; }
fi

if command -v chromium >/dev/null && command -v npm >/dev/null; then
    out=$CARGO_TARGET_DIR/dashboard
    mkdir -p "$out"
    if within 120 npm install --silent --no-audit --no-fund --prefix "$out" playwright-core@1.64.1 >/dev/null; then
        NODE_PATH=$out/node_modules within 120 node ci/services.cjs "http://$front/" "$out"
    else
        echo "skipped: playwright-core cannot be installed"
    fi
else
    echo "skipped: Chromium or npm is not installed"
fi

# Before a WebSocket server.
start "$program/gateway" 127.0.0.1:0 --upstream "$chat" --log error
accepted=$(upgrade "${address##*:}")
grep -qi '^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=$' <<<"$accepted" || {
    echo "a WebSocket through the gateway: '$accepted'" >&2
    exit 1
}

# Before two upstreams, with load; one of them ends amid the load, and no request fails.
start "$program/examples/http" 0 && other=$address other_pid=$pid
start "$program/gateway" 127.0.0.1:0 --upstream "$hello" --upstream "$other" --balance least --log error
both=$address both_admin=$admin gateway_pid=$pid
expect "the gateway" "Hello, World!" "$(curl -s "http://$both/")"
expect "the gateway, HTTP/2" 200 "$(status --http2-prior-knowledge "http://$both/")"
head -c 60000 /dev/urandom >"$scratch/body"
curl -s --data-binary @"$scratch/body" "http://$both/echo" | cmp - "$scratch/body"
curl -s -H 'Transfer-Encoding: chunked' --data-binary @"$scratch/body" "http://$both/echo" | cmp - "$scratch/body"
expect "the large answer" "$((8 << 20))" "$(curl -s "http://$both/large" | wc -c)"
if command -v wrk >/dev/null; then
    (sleep 3; kill "$other_pid") &
    out=$(within 60 wrk --timeout 30s -t1 -c200 -d8 "http://$both/")
    echo "$out"
    if grep -qE 'Socket errors|Non-2xx' <<<"$out"; then exit 1; fi
else
    echo "skipped: wrk is not installed"
fi
curl -s "http://$both_admin/metrics" | grep -E '^gateway_(upstream|retries)'

# The end: SIGTERM lets both services drain.
kill -TERM "$gateway_pid" "$one"
for ended in "$gateway_pid" "$one"; do
    code=0
    wait "$ended" || code=$?
    expect "the end of a service" 0 "$code"
done
