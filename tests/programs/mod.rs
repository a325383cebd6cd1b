//! What the tests of the examples share: the paths of the programs, and a server among them.
#![allow(dead_code, unreachable_pub)] // each test uses its part

pub mod http;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of an example, if it was built.
pub fn example_path(example: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().expect("the test's own program");
    let folder = program.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let path = folder.join("examples").join(example);
    if !path.exists() {
        println!("skipped: {} was not built", path.display());
        return None;
    }
    Some(path)
}

/// An example that serves. Its drop ends the process.
pub struct Server {
    pub child: Child,
    pub address: String,
    output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts an example of this package on a free port, if it was built.
    pub fn start(example: &str, arguments: &[&str]) -> Option<Server> {
        Some(Server::start_at(&example_path(example)?, arguments))
    }

    /// Starts the server at that path on a free port; it prints its address last in a line.
    pub fn start_at(program: &Path, arguments: &[&str]) -> Server {
        let mut child = Command::new(program)
            .arg("0")
            .args(arguments)
            // Checked waits and reports load the debug information, and tests measure the memory of examples.
            .env("SWARD_CHECK", "0")
            .env("SWARD_STALL_REPORTS", "0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
        output.read_line(&mut line).expect("a line");
        let address = line.split_whitespace().last().expect("an address");
        let address = address.rsplit("//").next().expect("a part").trim_end_matches('/').to_owned();
        Server { child, address, output }
    }

    /// A connection to it, with a timeout for reads.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
        stream
    }

    /// Sends the request, and reads until the server closes.
    pub fn talk(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Server {
    /// The number of its descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a living process").count()
    }

    /// Asserts that it has at most so much resident memory, soon: the report of a stall on a busy machine
    /// reads debug information, and gives it back.
    pub fn has_resident(&self, kib: u64) {
        let limit = Instant::now() + Duration::from_secs(120);
        while resident_kib(self.child.id()) >= kib {
            assert!(Instant::now() < limit, "{} KiB", resident_kib(self.child.id()));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The rest of what it prints until its end.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("text");
        rest
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        interrupt(&self.child);
    }
}

/// Ctrl-C for a child process that no call has waited for.
pub fn interrupt(child: &Child) {
    // SAFETY: the call takes no pointers; the number is still the child's, as no call has waited for it.
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(sent, 0);
}

/// The resident memory of a process.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Reads up to that end and with it, and nothing of what follows.
pub fn read_until(stream: &mut impl Read, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    Ok(read)
}

/// Waits until the condition holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
