#!/usr/bin/env bash
# Crates of services on sward, against real servers: PostgreSQL, MariaDB, Redis and nginx. Each runs on loopback, on
# a free port, in a scratch folder. What cannot be installed or started is skipped by name, and so are its tests.
# docs/ECOSYSTEM.md has the table of the crates.
. "$(dirname "$0")/common.sh"

packages=(postgresql mariadb-server redis-server nginx-light openssl libpq-dev libssl-dev pkg-config)
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get update -qq || echo "apt-get update fails"
    timeout 300 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        for package in "${missing[@]}"; do # One that cannot be installed does not keep the others away.
            timeout 120 apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
                echo "skipped: $package cannot be installed"
        done
fi

scratch=$(mktemp -d)
chmod 755 "$scratch"
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port that nobody listens on, as $port. It is below those that the kernel gives to clients.
port=$((20000 + RANDOM % 10000))
next_port() {
    port=$((port + 1))
    while listens "$port"; do port=$((port + 1)); done
}

# Starts a server in the background: name, what answers once it is ready, command. Fails if it is not ready.
start() {
    local name=$1 ready=$2 pid
    shift 2
    "$@" >"$scratch/$name.log" 2>&1 &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || break
        if $ready >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "skipped: $name does not start:"
    tail -n 20 "$scratch/$name.log"
    return 1
}

# As that user, if this is root: some servers refuse to run as root.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; else exec "$@"; fi
}

postgres() {
    local bin
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    [ -x "$bin/postgres" ] || { echo "skipped: PostgreSQL is not installed"; return; }
    local data=$scratch/postgres
    mkdir "$data"
    [ "$(id -u)" != 0 ] || chown postgres "$data"
    (as postgres "$bin/initdb" -D "$data" -U postgres -A trust --no-sync) >"$scratch/initdb.log" 2>&1 || {
        echo "skipped: initdb fails:"
        tail "$scratch/initdb.log"
        return
    }
    next_port
    start postgres "$bin/pg_isready -h 127.0.0.1 -p $port" as postgres "$bin/postgres" -D "$data" -p "$port" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=250 -c fsync=off || return 0
    export SWARD_TEST_POSTGRES=127.0.0.1:$port
}

mariadb() {
    command -v mariadbd >/dev/null || { echo "skipped: MariaDB is not installed"; return; }
    local data=$scratch/mariadb user=()
    mkdir "$data"
    [ "$(id -u)" != 0 ] || { chown mysql "$data" && user=(--user=mysql); }
    mariadb-install-db --no-defaults "${user[@]}" --datadir="$data" --skip-test-db \
        --auth-root-authentication-method=normal >"$scratch/install-db.log" 2>&1 || {
        echo "skipped: mariadb-install-db fails:"
        tail "$scratch/install-db.log"
        return
    }
    next_port
    start mariadb "mariadb-admin --no-defaults -h 127.0.0.1 -P $port -u root ping" \
        mariadbd --no-defaults "${user[@]}" --datadir="$data" --bind-address=127.0.0.1 --port="$port" \
        --socket="$data/socket" --pid-file="$data/pid" --max-connections=250 --skip-name-resolve || return 0
    export SWARD_TEST_MARIADB=127.0.0.1:$port
}

redis() {
    command -v redis-server >/dev/null || { echo "skipped: Redis is not installed"; return; }
    next_port
    start redis "redis-cli -h 127.0.0.1 -p $port ping" \
        redis-server --bind 127.0.0.1 --port "$port" --dir "$scratch" --save '' --appendonly no || return 0
    export SWARD_TEST_REDIS=127.0.0.1:$port
}

nginx_conf() {
    cat <<EOF
daemon off;
pid $scratch/nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 1000; }
http {
    access_log off;
    client_body_temp_path $scratch/nginx-body;
    proxy_temp_path $scratch/nginx-proxy;
    fastcgi_temp_path $scratch/nginx-fastcgi;
    uwsgi_temp_path $scratch/nginx-uwsgi;
    scgi_temp_path $scratch/nginx-scgi;
    server {
        listen 127.0.0.1:$http;
        listen 127.0.0.1:$https ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate $scratch/certificate.pem;
        ssl_certificate_key $scratch/key.pem;
        # An operation: its answer is the parameter n.
        location / { return 200 \$arg_n; }
        # One that the tests leave unanswered.
        location /wait { proxy_pass http://127.0.0.1:$upstream; proxy_read_timeout 600s; }
    }
}
EOF
}

nginx() {
    type -P nginx >/dev/null && command -v openssl >/dev/null || { echo "skipped: nginx is not installed"; return; }
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$scratch/key.pem" -out "$scratch/certificate.pem" 2>/dev/null
    local http https upstream
    next_port; http=$port
    next_port; https=$port
    next_port; upstream=$port
    nginx_conf >"$scratch/nginx.conf"
    start nginx "listens $http" "$(type -P nginx)" -p "$scratch" -e stderr -c "$scratch/nginx.conf" || return 0
    export SWARD_TEST_NGINX=127.0.0.1:$http SWARD_TEST_NGINX_TLS=127.0.0.1:$https
    export SWARD_TEST_UPSTREAM=127.0.0.1:$upstream SWARD_TEST_CERTIFICATE=$scratch/certificate.pem
}

postgres
mariadb
redis
nginx

# Most of the time is spent in building the crates under test.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/servers}
within 1000 cargo test -q -p ecosystem-tests
within 1000 cargo test -q -p ecosystem-tests --features rows --test rows --test parked --no-run
within 1000 cargo test -q -p ecosystem-tests --features rows --test rows --test parked -- \
    --test-threads=1 --nocapture "$@"
