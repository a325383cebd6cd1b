#!/usr/bin/env bash
# The example servers, driven by independent clients: nc, curl, ab, wrk, redis-cli and redis-benchmark.
. "$(dirname "$0")/common.sh"
tools=(nc curl ab wrk redis-cli redis-benchmark)
missing=()
for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq netcat-openbsd curl apache2-utils wrk redis-tools >/dev/null || true
fi
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done
without_lto
cargo build --release --example echo --example http --example proxy --example redis
cargo build --release -p example-https
# Without optimization, as `ci/companions.sh` and `ci/services.sh` need them.
cargo build -p sward-hyper --example hyper
cargo build -p example-websocket

pids=()
scratch=$(mktemp -d)
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -r "$scratch"' EXIT
ulimit -n "$(ulimit -Hn)"

built=${CARGO_TARGET_DIR:-target}
start() { # example, port, arguments...: waits until it listens
    local program=$built/release/examples/$1
    case $1 in
        https) program=$built/release/https ;;
        websocket) program=$built/debug/websocket ;;
        hyper) program=$built/debug/examples/hyper ;;
    esac
    "$program" "${@:2}" >/dev/null &
    pids+=($!)
    for _ in $(seq 100); do nc -z 127.0.0.1 "$2" && return; sleep 0.1; done
    echo "$1 does not listen" >&2
    exit 1
}

expect() { # what it is, what is expected, what there is
    [ "$2" = "$3" ] || { echo "$1: expected '$2', got '$3'" >&2; exit 1; }
}

load() { # url: wrk's load for ten seconds, without an error
    local out
    out=$(wrk --timeout 30s -t1 -c1000 -d10 "$1")
    echo "$out"
    if grep -qE 'Socket errors|Non-2xx' <<<"$out"; then exit 1; fi
}

start echo 17000
reply=$(printf 'over nc' | nc -N 127.0.0.1 17000)
[ "$reply" = "over nc" ] || { echo "echo: got '$reply'" >&2; exit 1; }

# A GiB through the proxy, and its end: the target gets exactly what the client sent. The target's answer
# comes back over the connection that the client has half closed.
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

# A reset is not an end: curl distinguishes the two (56: the connection failed; 52: it ended without an
# answer). If the reset comes before curl has seen that it is connected, it reports 7.
start proxy 17003 127.0.0.1:17004
status=0
curl -s --max-time 20 http://127.0.0.1:17003/ || status=$?
[ "$status" = 7 ] && status=56
expect "proxy, a target that is not there" 56 "$status"
start proxy 17005 127.0.0.1:17000 --idle 2
# 28: curl's own limit, and not the proxy's, ended the connection.
status=0
curl -s --max-time 5 telnet://127.0.0.1:17005 </dev/zero >/dev/null || status=$?
expect "proxy, a client that is busy" 28 "$status"
status=0
sleep 6 | curl -s --max-time 20 telnet://127.0.0.1:17005 || status=$?
expect "proxy, a client that is idle" 56 "$status"

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

# HTTP/1.0 with keep-alive: ab sends the next request on a connection only if the answer allows it.
kept() { # url
    local out
    out=$(within 60 ab -q -k -n 20000 -c 50 "$1")
    grep -E 'Complete|Failed|Keep-Alive' <<<"$out"
    expect "ab -k $1, requests" 20000 "$(awk '/^Complete requests/ {print $3}' <<<"$out")"
    expect "ab -k $1, failures" 0 "$(awk '/^Failed requests/ {print $3}' <<<"$out")"
    expect "ab -k $1, kept connections" 20000 "$(awk '/^Keep-Alive requests/ {print $3}' <<<"$out")"
}
kept http://127.0.0.1:18080/
# HTTP/1.0 without keep-alive: the end of the connection is the end of the answer.
expect "ab, failures" 0 "$(within 60 ab -q -n 2000 -c 50 http://127.0.0.1:18080/ | awk '/^Failed requests/ {print $3}')"
status() { curl -s -o /dev/null -w '%{http_code}' --http1.1 "$@"; }
base=http://127.0.0.1:18080
head -c 60000 /dev/urandom >"$scratch/small"
head -c 5000000 /dev/urandom >"$scratch/body"
# A request as to a proxy: its target is an absolute URL.
expect "http, absolute form" "Hello, World!" "$(curl -s -x "$base" http://example.com/)"
expect "http, no Host" 400 "$(status -H 'Host:' $base/)"
expect "http, two lengths" 400 "$(status -H 'Content-Length: 3' -H 'Content-Length: 5' -X POST $base/echo)"
expect "http, length and chunks" 400 \
    "$(status -H 'Content-Length: 3' -H 'Transfer-Encoding: chunked' -d abc $base/echo)"
expect "http, an old client" "Hello, World!" "$(curl -s --http1.0 $base/)"
curl -s --data-binary @"$scratch/small" $base/echo | cmp - "$scratch/small"
curl -s -H 'Transfer-Encoding: chunked' --data-binary @"$scratch/small" $base/echo | cmp - "$scratch/small"
curl -s -H 'Expect: 100-continue' --expect100-timeout 60 --data-binary @"$scratch/small" $base/echo |
    cmp - "$scratch/small"
expect "http, a body that is too large" 413 "$(status -H 'Expect:' --data-binary @"$scratch/body" $base/echo)"
expect "http, the large one" "$((8 << 20))" "$(curl -s $base/large | wc -c)"

load http://127.0.0.1:18080/

start https 18443 --cert-out "$scratch/own.pem"
trusting=(curl -s --cacert "$scratch/own.pem")
expect "https, unverified" "Hello, World!" "$(curl -sk https://127.0.0.1:18443/)"
expect "https" "Hello, World!" "$("${trusting[@]}" https://localhost:18443/)"
expect "https, the large one" "$((8 << 20))" "$("${trusting[@]}" https://localhost:18443/large | wc -c)"
count=$("${trusting[@]}" -w '%{num_connects}\n' -o /dev/null -o /dev/null https://localhost:18443/{,large})
expect "https, connections of two requests" "1 0" "$(echo $count)"
# 60: curl does not trust the certificate.
status=0
curl -s https://localhost:18443/ || status=$?
expect "https, untrusted" 60 "$status"
kept https://127.0.0.1:18443/
load https://127.0.0.1:18443/

start websocket 18083
[[ "$(curl -s http://127.0.0.1:18083/)" == *"new WebSocket("* ]] || { echo "websocket: no page" >&2; exit 1; }
accepted=$(upgrade 18083)
grep -qi '^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=$' <<<"$accepted" || {
    echo "websocket: '$accepted'" >&2
    exit 1
}

code() { head -1 <<<"$1" | cut -d' ' -f2; }
expect "websocket, its own page" 101 "$(code "$(upgrade 18083 'Origin: http://127.0.0.1:18083')")"
expect "websocket, a foreign page" 403 "$(code "$(upgrade 18083 'Origin: http://evil.example')")"

start hyper 18082
for version in --http1.1 --http2-prior-knowledge; do
    expect "hyper $version" "Hello, World!" "$(curl -s $version http://127.0.0.1:18082/)"
    curl -s $version --data-binary @"$scratch/body" http://127.0.0.1:18082/echo | cmp - "$scratch/body"
done
version=$(curl -s --http2-prior-knowledge -o /dev/null -w '%{http_version}' http://127.0.0.1:18082/)
expect "hyper's version" 2 "$version"
load http://127.0.0.1:18082/

start redis 16390
redis() { redis-cli -p 16390 "$@"; }
expect PING PONG "$(redis PING)"
expect SET OK "$(redis SET key 'a value')"
expect GET "a value" "$(redis GET key)"
expect INCR 1 "$(redis INCR count)"
expect EXPIRE 1 "$(redis EXPIRE count 100)"
left=$(redis TTL count)
[ "$left" -gt 0 ] && [ "$left" -le 100 ] || { echo "TTL: '$left'" >&2; exit 1; }
expect DEL 2 "$(redis DEL key count nothing)"
expect "SET of +5" OK "$(redis SET count +5)"
expect "INCR of +5" "ERR value is not an integer or out of range" "$(redis INCR count)"
head -c 8388608 /dev/urandom >"$scratch/value"
expect "SET of 8 MiB" OK "$(redis -x SET large <"$scratch/value")"
# Compare only the value: redis-cli adds a line feed.
cmp -n 8388608 <(redis GET large) "$scratch/value"
# A client asks for a thousand answers of 8 MiB and reads none: the server must not make them. A signal ends
# nc when `head` has ended.
{ for _ in $(seq 1000); do echo 'GET large'; done; sleep 2; } |
    nc 127.0.0.1 16390 | head -c 1000 >/dev/null || true
expect "PING beside them" PONG "$(redis PING)"
expect "what is left" 2 "$(redis DEL large count)"
piped=$(for n in $(seq 1000); do echo "SET key$n $n"; done | redis --pipe | sed -n 's/.*replies: //p')
expect "the pipe" 1000 "$piped"
expect DBSIZE 1000 "$(redis DBSIZE)"
within 120 redis-benchmark -p 16390 -t set,get,incr -c 50 -P 16 -n 1000000 -q
within 120 redis-benchmark -p 16390 -t set,get -c 50 -d 100000 -n 20000 -q
