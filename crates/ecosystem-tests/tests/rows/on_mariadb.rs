//! The driver `mysql`, which blocks.

use crate::peers::Mariadb;
use ecosystem_tests::{Gate, Row, check};
use mysql::prelude::Queryable;
use mysql::{Pool, PoolConstraints, PoolOpts};

struct Blocking {
    pool: Pool,
    server: Mariadb,
}

fn sum(pool: &Pool, n: u32) -> mysql::Result<Option<u32>> {
    pool.get_conn()?.exec_first("SELECT ? + 1", (n,))
}

fn at_gate(pool: &Pool) -> mysql::Result<Option<u32>> {
    pool.get_conn()?.query_first(Mariadb::WAIT)
}

fn pool(server: &Mariadb) -> Pool {
    let size = PoolOpts::default().with_constraints(PoolConstraints::new(0, 100).expect("0 is less"));
    Pool::new(server.options().pool_opts(size)).expect("a pool")
}

impl Row for Blocking {
    const CANCELS: bool = false;

    fn operate(&self, n: u32) {
        // Glue: mysql_blocking
        let answer = sward::blocking(|| sum(&self.pool, n)).expect("a thread");
        // End.
        assert_eq!(answer.expect("a row"), Some(n + 1));
    }

    fn wait(&self) {
        let answer = sward::blocking(|| at_gate(&self.pool)).expect("a thread");
        assert_eq!(answer.expect("a row"), Some(2));
    }

    fn gate(&self) -> &dyn Gate {
        &self.server
    }
}

#[test]
fn mysql_blocking() {
    let Some(server) = Mariadb::new() else { return };
    check(|| Blocking { pool: pool(&server), server });
}
