//! The driver [`redis`](https://docs.rs/redis) over streams of sward: its sync interface, which parks, and
//! its connection that many coroutines share.
//!
//! ```no_run
//! use redis::{ConnectionLike, RedisConnectionInfo};
//! use sward_compat::{Pool, redis::connect};
//!
//! sward::run(|| {
//!     let pool = Pool::new(16, || connect("127.0.0.1:6379", &RedisConnectionInfo::default()));
//!     let pool = pool.check(|connection| connection.is_open());
//!     let mut connection = pool.get()?;
//!     redis::cmd("SET").arg("key").arg(42).exec(&mut *connection)?;
//!     let value: u32 = redis::cmd("GET").arg("key").query(&mut *connection)?;
//!     assert_eq!(value, 42);
//!     redis::RedisResult::Ok(())
//! })
//! # .unwrap();
//! ```

use crate::{Polled, PoolError};
use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ConnectionLike, Parser, RedisConnectionInfo, RedisError, RedisResult, Value,
};
use std::fmt;
use std::io::{self, BufReader, Write};
use sward::net::{TcpStream, ToSocketAddrs};

/// A connection for one coroutine at a time. Commands, pipelines and transactions of `redis` take it as
/// `&mut`. Each parks until its answer is there.
///
/// If a command is cancelled, exceeds a time limit, or meets an error of the stream, the connection is of no
/// more use: the answer may still come, and the next command would take it for its own.
/// [`is_open`](ConnectionLike::is_open) is false then.
pub struct Connection {
    stream: BufReader<TcpStream>,
    parser: Parser,
    db: i64,
    open: bool,
}

/// The error of connecting itself, or that of a stream that timed out or is not connected.
impl From<PoolError<RedisError>> for RedisError {
    fn from(error: PoolError<RedisError>) -> RedisError {
        match error {
            PoolError::Connect(error) => error,
            PoolError::TimedOut => io::Error::from(PoolError::<io::Error>::TimedOut).into(),
            PoolError::Closed => io::Error::from(PoolError::<io::Error>::Closed).into(),
        }
    }
}

/// Connects, and sends the password and the number of the database, if they are set. Speaks RESP2. Parks.
///
/// # Errors
///
/// Those of the connection, and of the server.
pub fn connect(address: impl ToSocketAddrs, info: &RedisConnectionInfo) -> RedisResult<Connection> {
    let stream = BufReader::new(open(address)?);
    let mut connection = Connection { stream, parser: Parser::new(), db: info.db(), open: true };
    if let Some(password) = info.password() {
        let mut auth = Cmd::new();
        auth.arg("AUTH").arg(info.username()).arg(password).exec(&mut connection)?;
    }
    if info.db() != 0 {
        Cmd::new().arg("SELECT").arg(info.db()).exec(&mut connection)?;
    }
    Ok(connection)
}

/// Connects, and returns a connection for many coroutines at once: clone it, and run its futures with
/// [`sward::block_on`]. A coroutine of its own passes on commands and answers. Parks.
///
/// It needs no runtime of tokio, and has no time limits of its own: `sward::time::timeout` ends a command,
/// and the connection stays usable. A command that blocks at the server, such as `BLPOP`, holds up all users
/// of the connection: connect once more for it.
///
/// # Errors
///
/// As [`connect`].
pub fn connect_shared(
    address: impl ToSocketAddrs,
    info: &RedisConnectionInfo,
) -> RedisResult<MultiplexedConnection> {
    // Its limit of half a second would need tokio's clock.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let opened = MultiplexedConnection::new_with_config(info, Polled::new(open(address)?)?, config);
    let (connection, driver) = sward::block_on(opened)?;
    sward::spawn(move || sward::block_on(driver));
    Ok(connection)
}

fn open(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    fn ask(&mut self, commands: &[u8], skip: usize, count: usize) -> RedisResult<Vec<Value>> {
        // Until all answers are there.
        let open = std::mem::replace(&mut self.open, false);
        self.stream.get_mut().write_all(commands)?;
        let mut answers = Vec::with_capacity(count);
        for n in 0..skip + count {
            let answer = self.parser.parse_value(&mut self.stream)?;
            if n >= skip {
                answers.push(answer);
            }
        }
        self.open = open;
        Ok(answers)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        Ok(self.ask(command, 0, 1)?.remove(0))
    }

    fn req_packed_commands(&mut self, commands: &[u8], skip: usize, count: usize) -> RedisResult<Vec<Value>> {
        self.ask(commands, skip, count)
    }

    fn get_db(&self) -> i64 {
        self.db
    }

    fn check_connection(&mut self) -> bool {
        Cmd::new().arg("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", self.stream.get_ref()).finish_non_exhaustive()
    }
}
