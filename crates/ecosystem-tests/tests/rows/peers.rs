//! The servers that `ci/servers.sh` has started, and their gates.

use ecosystem_tests::{Gate, Local};
use mysql::prelude::Queryable;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// The value of an environment variable of `ci/servers.sh`. Prints what is skipped if it has none.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        println!("skipped: {name} is not set, so there is no such server");
    }
    value
}

/// The address in an environment variable.
pub(crate) fn address(name: &str) -> Option<SocketAddr> {
    Some(variable(name)?.parse().expect("an address"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// PostgreSQL. What waits, waits for an advisory lock.
pub(crate) struct Postgres {
    pub(crate) address: SocketAddr,
    /// The name that the row's connections have at the server.
    pub(crate) name: &'static str,
    control: Mutex<postgres::Client>,
}

impl Postgres {
    /// The operation that waits.
    pub(crate) const WAIT: &str = "select count(pg_advisory_xact_lock_shared(7))::int4";

    pub(crate) fn new(name: &'static str) -> Option<Postgres> {
        let address = address("SWARD_TEST_POSTGRES")?;
        let control = postgres_config(address, "control").connect(postgres::NoTls).expect("PostgreSQL");
        Some(Postgres { address, name, control: Mutex::new(control) })
    }

    /// As a URL.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres?application_name={}", self.address, self.name)
    }

    pub(crate) fn config(&self) -> postgres::Config {
        postgres_config(self.address, self.name)
    }

    fn count(&self, query: &str) -> usize {
        let row = lock(&self.control).query_one(query, &[]).expect("PostgreSQL counts");
        usize::try_from(row.get::<_, i64>(0)).expect("a count")
    }
}

fn postgres_config(address: SocketAddr, name: &str) -> postgres::Config {
    let mut config = postgres::Config::new();
    config.host(&address.ip().to_string()).port(address.port());
    config.user("postgres").dbname("postgres").application_name(name);
    config
}

impl Gate for Postgres {
    fn close(&self) {
        lock(&self.control).batch_execute("select pg_advisory_lock(7)").expect("the lock is free");
    }

    fn open(&self) {
        lock(&self.control).batch_execute("select pg_advisory_unlock(7)").expect("the lock was taken");
    }

    fn waiting(&self) -> usize {
        self.count("select count(*) from pg_locks where locktype = 'advisory' and not granted")
    }

    fn connections(&self) -> Option<usize> {
        let name = self.name;
        Some(self.count(&format!("select count(*) from pg_stat_activity where application_name = '{name}'")))
    }
}

/// MariaDB. What waits, waits for a user's lock.
pub(crate) struct Mariadb {
    pub(crate) address: SocketAddr,
    control: Mutex<mysql::Conn>,
}

impl Mariadb {
    /// The operation that waits.
    pub(crate) const WAIT: &str = "SELECT GET_LOCK('gate', 600) + RELEASE_LOCK('gate')";

    pub(crate) fn new() -> Option<Mariadb> {
        let address = address("SWARD_TEST_MARIADB")?;
        let control = mysql::Conn::new(mariadb_options(address)).expect("MariaDB");
        Some(Mariadb { address, control: Mutex::new(control) })
    }

    pub(crate) fn options(&self) -> mysql::OptsBuilder {
        mariadb_options(self.address)
    }

    fn number(&self, query: &str) -> usize {
        lock(&self.control).query_first(query).expect("MariaDB answers").expect("a number")
    }
}

fn mariadb_options(address: SocketAddr) -> mysql::OptsBuilder {
    mysql::OptsBuilder::new()
        .ip_or_hostname(Some(address.ip().to_string()))
        .tcp_port(address.port())
        .user(Some("root"))
        // A socket in the file system would be preferred to the address.
        .prefer_socket(false)
}

impl Gate for Mariadb {
    fn close(&self) {
        assert_eq!(self.number("SELECT GET_LOCK('gate', 0)"), 1);
    }

    fn open(&self) {
        assert_eq!(self.number("SELECT RELEASE_LOCK('gate')"), 1);
    }

    fn waiting(&self) -> usize {
        self.number("SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'")
    }

    fn connections(&self) -> Option<usize> {
        let query = "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID()";
        Some(self.number(&format!("{query} AND user = 'root'")))
    }
}

/// Redis. What waits, waits for an element of a list.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    control: Mutex<redis::Connection>,
}

impl Redis {
    /// The key of the operation that waits: `BLPOP gate 0`.
    pub(crate) const KEY: &str = "gate";

    pub(crate) fn new() -> Option<Redis> {
        let address = address("SWARD_TEST_REDIS")?;
        let control = redis::Client::open(format!("redis://{address}")).expect("an address");
        let control = control.get_connection().expect("Redis");
        Some(Redis { address, control: Mutex::new(control) })
    }

    /// A number of the answer to `INFO clients`.
    fn info(&self, name: &str) -> usize {
        let command = redis::cmd("INFO").arg("clients").to_owned();
        let info: String = command.query(&mut *lock(&self.control)).expect("Redis");
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| *key == name).expect("INFO has it");
        value.trim().parse().expect("a number")
    }
}

impl Gate for Redis {
    fn close(&self) {
        redis::cmd("DEL").arg(Self::KEY).exec(&mut *lock(&self.control)).expect("Redis");
    }

    fn open(&self) {
        let mut push = redis::cmd("RPUSH");
        push.arg(Self::KEY);
        for n in 0..1000 {
            push.arg(n);
        }
        push.exec(&mut *lock(&self.control)).expect("Redis");
    }

    fn waiting(&self) -> usize {
        self.info("blocked_clients")
    }

    fn connections(&self) -> Option<usize> {
        Some(self.info("connected_clients") - 1)
    }
}

/// nginx. An operation is a request whose answer is its parameter `n`. What waits, waits for the server
/// behind nginx, which is in this process, on plain threads.
pub(crate) struct Nginx {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Signed by itself.
    pub(crate) certificate: Vec<u8>,
    gate: Local,
}

impl Nginx {
    pub(crate) fn new() -> Option<Nginx> {
        let (http, https) = (address("SWARD_TEST_NGINX")?, address("SWARD_TEST_NGINX_TLS")?);
        let certificate = variable("SWARD_TEST_CERTIFICATE")?;
        let certificate = std::fs::read(certificate).expect("the certificate");
        // One server for all tests, so that they may run at the same time.
        static GATE: OnceLock<Local> = OnceLock::new();
        let upstream = address("SWARD_TEST_UPSTREAM")?;
        let gate = GATE.get_or_init(|| {
            let (gate, listener) = (Local::default(), TcpListener::bind(upstream).expect("the port is free"));
            let at = gate.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (gate, stream) = (at.clone(), stream.expect("a connection"));
                    thread::spawn(move || answer(stream, &gate));
                }
            });
            gate
        });
        Some(Nginx { http, https, certificate, gate: gate.clone() })
    }

    pub(crate) fn url(&self, n: u32) -> String {
        format!("http://{}/?n={n}", self.http)
    }

    pub(crate) fn wait_url(&self) -> String {
        format!("http://{}/wait", self.http)
    }
}

/// Answers a request, once the gate is open.
fn answer(stream: TcpStream, gate: &Local) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    while !lines.next().transpose()?.is_none_or(|line| line.is_empty()) {}
    gate.pass();
    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

impl Gate for Nginx {
    fn close(&self) {
        self.gate.close();
    }

    fn open(&self) {
        self.gate.open();
    }

    fn waiting(&self) -> usize {
        self.gate.waiting()
    }
}
