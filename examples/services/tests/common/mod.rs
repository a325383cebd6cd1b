//! Services as processes of their own, and plain HTTP clients that know nothing of coroutines.
#![allow(dead_code)] // each test uses its part

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a slow machine that does other things, too.
const LONG: Duration = Duration::from_secs(60);

/// A service. Its drop ends the process.
pub struct Service {
    child: Child,
    pub address: String,
    /// The address of `/metrics`, if the service prints one.
    pub admin: String,
    _output: BufReader<ChildStdout>,
}

impl Service {
    /// Starts `program 127.0.0.1:0 ARGUMENTS`. It prints its addresses in lines of their own.
    pub fn start(program: &str, arguments: &[&str]) -> Service {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").args(arguments).args(["--log", "error"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the service starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut admin = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).expect("text"), 0, "the service has ended");
            let address = line.trim().rsplit("//").next().expect("a part").trim_end_matches('/').to_owned();
            if line.starts_with("serves") {
                break address;
            }
            admin = address;
        };
        Service { child, address, admin, _output: output }
    }

    pub fn terminate(&self) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process");
        // SAFETY: the call takes no pointers. The number is still the child's, as nobody has waited for it.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let limit = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < limit, "the service does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that a program refuses its arguments.
pub fn refuses(program: &str, arguments: &[&str]) {
    let output = Command::new(program).arg("127.0.0.1:0").args(arguments).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
}

pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(LONG)).expect("set");
    stream
}

/// Sends a text over a new connection, and reads until the server closes.
pub fn talk(address: &str, text: &str) -> String {
    let mut stream = connect(address);
    // A server that refuses may close before it has read everything.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer: the status, the head in lower case, the body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request, on a connection of its own.
pub fn send(address: &str, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let text = talk(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
        ),
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

pub fn get(address: &str, path: &str) -> Answer {
    send(address, "GET", path, "", "")
}

/// Waits until it holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < limit, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a metric in a text of Prometheus' format.
pub fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// A path for a temporary file. The drop removes it, with the files that SQLite puts beside it.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new(name: &str) -> TempFile {
        TempFile(std::env::temp_dir().join(format!("sward-services-{}-{name}", std::process::id())))
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", self.path()));
        }
    }
}

/// An upstream that answers on threads: each connection has one request, whose text goes to `answer`. What
/// that returns is sent, and the connection closed.
pub struct Upstream {
    pub address: String,
    pub requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start(
        answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (Arc::new(answer), Arc::clone(&requests));
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                thread::spawn(move || {
                    let mut stream = stream;
                    let Ok(request) = request(&mut stream) else { return };
                    if request.starts_with("GET /health ") {
                        let _ = stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    } else {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let _ = answer(&request, &mut stream);
                    }
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        Upstream { address, requests }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads a request, with a body that has a length or chunks.
fn request(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    let mut until = |text: &mut Vec<u8>, end: &[u8]| {
        while !text.ends_with(end) {
            stream.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        io::Result::Ok(())
    };
    until(&mut text, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&text).to_lowercase();
    if head.contains("transfer-encoding: chunked") {
        until(&mut text, b"\r\n0\r\n\r\n")?;
    } else if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        let mut body = vec![0; length.parse().expect("a number")];
        stream.read_exact(&mut body)?;
        text.extend(body);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The text of an answer that closes its connection.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
