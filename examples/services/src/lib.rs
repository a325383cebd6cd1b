//! Two whole services on sward, to copy from: [`notes`], a web application with a database, and [`gateway`],
//! a reverse proxy and load balancer. The other modules are what both need.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod counts;
pub mod gateway;
pub mod logs;
pub mod notes;
pub mod stop;
pub mod tls;
