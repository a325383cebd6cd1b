//! An echo server: `cargo run --release --example echo -- [PORT]`, then `nc 127.0.0.1 7000`.

mod common;

use std::io::{self, Read, Write};
use sward::net::{TcpListener, TcpStream};

fn main() {
    let mut arguments = common::Arguments::new("echo [PORT]");
    let port = arguments.port(7000);
    arguments.end();
    if let Err(e) = sward::run(|| serve(port)) {
        common::fail(&format!("echo on port {port}: {e}"));
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("echoes on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        sward::spawn(move || {
            // A connection that breaks is the end of that connection only.
            let _ = echo(stream);
        });
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
