#!/usr/bin/env bash
# The servers among the examples, driven by programs that are not ours: nc, curl, wrk.
. "$(dirname "$0")/common.sh"
missing=()
for tool in nc curl wrk; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq netcat-openbsd curl wrk >/dev/null
fi
for tool in nc curl wrk; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done
cargo build --release --examples

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
ulimit -n "$(ulimit -Hn)"

start() { # example, port: waits until it listens
    "target/release/examples/$1" "$2" >/dev/null &
    pids+=($!)
    for _ in $(seq 100); do nc -z 127.0.0.1 "$2" && return; sleep 0.1; done
    echo "$1 does not listen" >&2
    exit 1
}

start echo 17000
reply=$(printf 'over nc' | nc -N 127.0.0.1 17000)
[ "$reply" = "over nc" ] || { echo "echo: got '$reply'" >&2; exit 1; }

start http 18080
urls=$(mktemp)
for _ in $(seq 1000); do echo 'url = "http://127.0.0.1:18080/"'; done >"$urls"
count=$(curl -s --http1.1 -K "$urls" -w '%{num_connects}\n' -o /dev/null | awk '{c += $1} END {print NR, c}' )
rm "$urls"
echo "curl: requests and connections: $count"
[ "$(curl -s --http1.1 http://127.0.0.1:18080/)" = "Hello, World!" ]
[ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:18080/nothing)" = 404 ]
[ "$(printf 'nonsense\r\n\r\n' | nc -N 127.0.0.1 18080 | head -1 | cut -d' ' -f2)" = 400 ]
pipelined=$(printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' |
    nc -N 127.0.0.1 18080 | grep -c 'Hello, World!')
[ "$pipelined" = 2 ] || { echo "pipelining: $pipelined answers" >&2; exit 1; }

out=$(wrk -t1 -c1000 -d10 http://127.0.0.1:18080/)
echo "$out"
if grep -qE 'Socket errors|Non-2xx' <<<"$out"; then exit 1; fi
