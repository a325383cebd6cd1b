//! The driver `redis`, sync and async.

use crate::peers::Redis;
use ecosystem_tests::{Gate, Row, check};
use redis::aio::MultiplexedConnection;
use redis::{RedisConnectionInfo, RedisError, cmd};
use sward_compat::Pool;
use sward_compat::redis::{Connection, connect, connect_shared};

/// The sync interface, over a stream of sward.
struct Sync {
    pool: Pool<Connection, RedisError>,
    server: Redis,
}

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
    // Glue: redis_sync
    let connect = move || connect(address, &RedisConnectionInfo::default());
    // End.
    check(|| Sync { pool: Pool::new(100, connect), server });
}

/// The async interface, over streams of sward. All operations share a connection; one that waits has its own.
struct Async {
    shared: MultiplexedConnection,
    server: Redis,
}

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
        let mut connection = connect_shared(self.server.address, &Default::default()).expect("Redis");
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
    check(|| {
        // Glue: redis_async
        let shared = connect_shared(server.address, &RedisConnectionInfo::default()).expect("Redis");
        // End.
        Async { shared, server }
    });
}
