//! Sockets: what std's own tests cover, and what is particular to parking.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod close;
mod linger;
mod placement;
mod poll_ready;
mod readiness;
mod resolve;
mod serve;
mod tcp_listener;
mod tcp_socket;
mod tcp_stream;
mod udp;
mod unix_datagram;
mod unix_stream;
