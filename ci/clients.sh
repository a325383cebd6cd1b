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

examples=${CARGO_TARGET_DIR:-target}/release/examples
start() { # example, port, arguments...: waits until it listens
    "$examples/$1" "${@:2}" >/dev/null &
    pids+=($!)
    for _ in $(seq 100); do nc -z 127.0.0.1 "$2" && return; sleep 0.1; done
    echo "$1 does not listen" >&2
    exit 1
}

start echo 17000
reply=$(printf 'over nc' | nc -N 127.0.0.1 17000)
[ "$reply" = "over nc" ] || { echo "echo: got '$reply'" >&2; exit 1; }

# A GiB through the proxy, and the end of it: what the client sent is what the target got. The target's answer comes
# back over the connection that the client has half closed.
scratch=$(mktemp -d)
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
start proxy 17001 127.0.0.1:17002
head -c 1048576 /dev/urandom >"$scratch/block"
gibibyte() { for _ in $(seq 1024); do cat "$scratch/block"; done; }
(nc -l 127.0.0.1 17002 <<<"got it" | sha256sum >"$scratch/received") &
target=$!
for _ in $(seq 100); do ss -ltn | grep -q '127.0.0.1:17002' && break; sleep 0.1; done
began=$SECONDS
answer=$(gibibyte | tee >(sha256sum >"$scratch/sent") | within 60 nc -N 127.0.0.1 17001)
within 60 tail --pid="$target" -f /dev/null
echo "proxy: 1 GiB in $((SECONDS - began)) s, '$answer', sha256 $(cut -c1-16 "$scratch/received")"
[ "$answer" = "got it" ]
cmp "$scratch/sent" "$scratch/received"

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
