//! The servers among the examples, as processes of their own, driven over plain sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where an example was built, if it was.
fn example_path(example: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().expect("the test's own program");
    let folder = program.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let path = folder.join("examples").join(example);
    if !path.exists() {
        println!("skipped: {} was not built", path.display());
        return None;
    }
    Some(path)
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts an example on a free port; it prints its address last in a line.
    fn start(example: &str, arguments: &[&str]) -> Option<Server> {
        let mut child = Command::new(example_path(example)?)
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

/// An echo server, and the proxy in front of it.
fn proxied_echo(arguments: &[&str]) -> Option<(Server, Server)> {
    let echo = Server::start("echo", &[])?;
    let arguments: Vec<&str> = std::iter::once(&*echo.address).chain(arguments.iter().copied()).collect();
    let proxy = Server::start("proxy", &arguments)?;
    Some((echo, proxy))
}

#[test]
fn the_proxy_passes_ends_on() {
    let Some((_echo, proxy)) = proxied_echo(&[]) else { return };
    // One that stays open meanwhile.
    let mut other = TcpStream::connect(&proxy.address).expect("connected");
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&proxy.address).expect("connected");
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
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
    other.write_all(b"still there").expect("written");
    let mut back = [0; 11];
    other.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"still there");
}

/// A client that breaks off takes its connection to the target along, and nothing else.
#[test]
fn the_proxy_survives_resets() {
    let target = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = target.local_addr().expect("an address").to_string();
    let Some(proxy) = Server::start("proxy", &[&address]) else { return };
    for _ in 0..3 {
        let client = TcpStream::connect(&proxy.address).expect("connected");
        let (mut server, _) = target.accept().expect("connected");
        (&client).write_all(b"x").expect("written");
        server.read_exact(&mut [0]).expect("read");
        server.write_all(b"unread").expect("written");
        client.peek(&mut [0]).expect("it has come");
        // A socket that is closed with data in it is reset.
        drop(client);
        assert!(matches!(server.read(&mut [0]), Ok(0) | Err(_)));
        // And the other way round.
        let mut client = TcpStream::connect(&proxy.address).expect("connected");
        let (server, _) = target.accept().expect("connected");
        client.write_all(b"unread").expect("written");
        server.peek(&mut [0]).expect("it has come");
        drop(server);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    // A target that is not there ends the client's connection.
    drop(target);
    let mut client = TcpStream::connect(&proxy.address).expect("connected");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn the_proxy_ends_gracefully() {
    for (grace, patient) in [("60", true), ("0", false)] {
        let Some((_echo, mut proxy)) = proxied_echo(&["--grace", grace]) else { return };
        let mut stream = TcpStream::connect(&proxy.address).expect("connected");
        stream.write_all(b"a").expect("written");
        stream.read_exact(&mut [0]).expect("read");
        // SAFETY: the call takes no pointers. The child was not waited for.
        assert_eq!(unsafe { libc::kill(proxy.child.id() as libc::pid_t, libc::SIGINT) }, 0);
        if patient {
            while TcpStream::connect(&proxy.address).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
            stream.write_all(b"b").expect("written");
            stream.read_exact(&mut [0]).expect("the connection goes on");
            drop(stream);
        }
        assert!(proxy.child.wait().expect("an end").success());
    }
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

/// A head has its time from its first byte to its last, whatever came before it and however it drips.
#[test]
fn http_times_each_head_by_itself() {
    let Some(server) = Server::start("http", &["--head-seconds", "1"]) else { return };
    let mut pipelining = TcpStream::connect(&server.address).expect("connected");
    let mut dripping = TcpStream::connect(&server.address).expect("connected");
    let (begin, end) = ("GET / HTTP/1.1\r\nX: ", "\r\nHost: a\r\n\r\n");
    let last = "\r\nConnection: close\r\n\r\n";
    dripping.write_all(begin.as_bytes()).expect("written");
    pipelining.write_all(begin.as_bytes()).expect("written");
    for rest in [format!("{end}{begin}"), format!("{end}{begin}"), last.to_owned()] {
        std::thread::sleep(Duration::from_millis(400));
        pipelining.write_all(rest.as_bytes()).expect("written");
        let _ = dripping.write_all(b"x");
    }
    let mut answers = String::new();
    pipelining.read_to_string(&mut answers).expect("read");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert!(!answers.contains("408"), "{answers}");
    let mut refusal = Vec::new();
    let _ = dripping.read_to_end(&mut refusal);
    assert!(refusal.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&refusal));
}

#[test]
fn unknown_arguments_are_refused_with_the_usage() {
    for (example, arguments, wrong) in [
        ("echo", &["7000", "7001"][..], "unknown argument: \"7001\""),
        ("echo", &["seven"], "not a port: \"seven\""),
        ("proxy", &["0"], "where to? TARGET is a host and a port"),
        ("http", &["0", "--worker", "2"], "unknown argument: \"--worker\""),
        ("http", &["--workers"], "--workers wants a number"),
        ("c10k", &["--connections", "10"], "unknown argument: \"--connections\""),
        ("c10k", &["bench"], "unknown argument: \"bench\""),
        ("c10k", &["--conns", "0"], "--conns wants 1 at least, not 0"),
        ("c10k", &["--size", "8"], "--size wants from 16 to 1048576, not 8"),
        ("spawn_100k", &["--count", "many"], "--count wants a number, not \"many\""),
    ] {
        let Some(path) = example_path(example) else { return };
        let output = Command::new(path).args(arguments).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wrong) && said.contains(&format!("usage: {example} ")), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}
