//! The servers among the examples, as processes of their own, driven over plain sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts an example on a free port; it prints its address last in a line.
    fn start(example: &str, arguments: &[&str]) -> Option<Server> {
        let mut path: PathBuf = std::env::current_exe().expect("the test's own program");
        path.pop();
        path.pop();
        path.push("examples");
        path.push(example);
        if !path.exists() {
            println!("skipped: {} was not built", path.display());
            return None;
        }
        let mut child = Command::new(path)
            .arg("0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it was piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.split_whitespace().last().expect("an address");
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Some(Server { child, address })
    }

    /// Sends all of that, and reads until the other side closes.
    fn talk(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn echo_gives_back_what_it_gets() {
    let Some(server) = Server::start("echo", &[]) else { return };
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    let sent: Vec<u8> = (0..100_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let writer = {
        let (mut stream, sent) = (stream.try_clone().expect("a clone"), sent.clone());
        std::thread::spawn(move || {
            stream.write_all(&sent).expect("written");
            stream.shutdown(Shutdown::Write).expect("half closed");
        })
    };
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read");
    writer.join().expect("no panic");
    assert!(back == sent);
}

#[test]
fn http_answers_the_good_and_the_bad() {
    let Some(server) = Server::start("http", &["--head-seconds", "1"]) else { return };
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let pipelined = server.talk(format!("{get}{get}{close}").as_bytes());
    assert_eq!(pipelined.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(pipelined.matches("Hello, World!").count(), 3);

    let old = server.talk(b"GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK") && old.ends_with("Hello, World!\n"));

    let head = server.talk(b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"));

    let body = server.talk(format!("POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /{close}").as_bytes());
    assert!(body.starts_with("HTTP/1.1 404") && body.contains("HTTP/1.1 200"), "{body}");

    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "501"),
        (large.as_str(), "431"),
        // Never finished: the server's patience ends, though the client goes on waiting.
        ("GET / HTTP/1.1\r\nHost: slow", "408"),
    ] {
        let answer = server.talk(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
    }
}
