//! A test for each row of the table in `docs/ECOSYSTEM.md`. `// Glue.` and `// End.` enclose what a user
//! writes beside their own code; `tests/table.rs` compares the count of these lines with the table.

mod channels;
mod http_clients;
mod http_servers;
mod on_mariadb;
mod on_postgres;
mod on_redis;
mod on_sqlite;
mod peers;
