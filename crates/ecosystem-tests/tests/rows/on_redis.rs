//! The driver `redis`, sync and async.

use crate::peers::Redis;
use ecosystem_tests::{Gate, Row, check};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionLike, Parser, RedisConnectionInfo, RedisResult, Value, cmd};
use std::io::{BufReader, Write};
use sward::net::TcpStream;
use sward_compat::{Polled, Pool};

/// The sync interface, over a stream of sward.
struct Sync {
    pool: Pool<Connection, std::io::Error>,
    server: Redis,
}

// Glue: redis_sync
struct Connection {
    stream: BufReader<TcpStream>,
    parser: Parser,
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.stream.get_mut().write_all(command)?;
        self.parser.parse_value(&mut self.stream)
    }

    fn req_packed_commands(&mut self, commands: &[u8], skip: usize, n: usize) -> RedisResult<Vec<Value>> {
        self.stream.get_mut().write_all(commands)?;
        let mut answers = (0..skip + n).map(|_| self.parser.parse_value(&mut self.stream));
        answers.by_ref().take(skip).collect::<RedisResult<Vec<_>>>()?;
        answers.collect()
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        true
    }
}
// End.

impl Row for Sync {
    fn operate(&self, n: u32) {
        let mut connection = self.pool.get().expect("a connection");
        let key = format!("key{n}");
        let answers: (u32, u32) = redis::pipe()
            .cmd("SET")
            .arg(&key)
            .arg(n)
            .ignore()
            .cmd("INCR")
            .arg(&key)
            .cmd("GETDEL")
            .arg(&key)
            .query(&mut *connection)
            .expect("answers");
        assert_eq!(answers, (n + 1, n + 1));
    }

    fn wait(&self) {
        let mut connection = self.pool.get().expect("a connection");
        cmd("BLPOP").arg(Redis::KEY).arg(0).exec(&mut *connection).expect("an element");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn redis_sync() {
    let Some(server) = Redis::new() else { return };
    let address = server.address;
    let connect = move || {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), parser: Parser::new() })
    };
    check(|| Sync { pool: Pool::new(100, connect), server });
}

/// The async interface, over streams of sward. All operations share a connection; one that waits has its own.
struct Async {
    shared: MultiplexedConnection,
    server: Redis,
}

// Glue: redis_async
fn connect(address: std::net::SocketAddr) -> RedisResult<MultiplexedConnection> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    // Its limit of half a second would need tokio's clock. `sward::time::timeout` needs nothing.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let info = RedisConnectionInfo::default();
    let opened = MultiplexedConnection::new_with_config(&info, Polled::new(stream)?, config);
    let (connection, driver) = sward::block_on(opened)?;
    sward::spawn(move || sward::block_on(driver));
    Ok(connection)
}
// End.

impl Row for Async {
    fn operate(&self, n: u32) {
        let mut connection = self.shared.clone();
        let answer = sward::block_on(async {
            let key = format!("key{n}");
            cmd("SET").arg(&key).arg(n).exec_async(&mut connection).await?;
            cmd("GETDEL").arg(&key).query_async::<u32>(&mut connection).await
        });
        assert_eq!(answer.expect("an answer"), n);
    }

    fn wait(&self) {
        let mut connection = connect(self.server.address).expect("Redis");
        let mut command = cmd("BLPOP");
        command.arg(Redis::KEY).arg(0);
        sward::block_on(command.exec_async(&mut connection)).expect("an element");
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn redis_async() {
    let Some(server) = Redis::new() else { return };
    check(|| Async { shared: connect(server.address).expect("Redis"), server });
}
