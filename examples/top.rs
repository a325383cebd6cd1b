//! What a running program does, in a terminal, as `top` shows processes: `cargo run --release --example top
//! -- http://127.0.0.1:6060 [--once] [--interval SECONDS] [--sort count|age|call|site] [--rows N]`.
//!
//! The program serves the dashboard: `sward::observe::serve("127.0.0.1:6060")`. Over ssh this needs no tunnel
//! and no browser. Ctrl-C ends it.
//!
//! It prints one frame a second to a terminal. `--once` prints one frame and ends, for scripts. If the output
//! is no terminal, frames follow one another as plain text.

mod common;

use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;
use sward::net::TcpStream;
use sward::time::timeout;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The largest answer. A summary of many groups has some hundred KiB.
const LARGEST: u64 = 64 << 20;
/// A turn that lasts for longer is a stall, in milliseconds.
const STALL: f64 = 20.0;

const USAGE: &str = "top URL [--once] [--interval SECONDS] [--sort count|age|call|site] [--rows N]";

fn main() {
    let mut arguments = common::Arguments::new(USAGE);
    let Some(url) = arguments.word() else { arguments.refuse("which URL?") };
    let once = arguments.flag("--once");
    let interval = Duration::from_secs(arguments.number("--interval", 1).max(1));
    let rows = arguments.number("--rows", 0) as usize;
    let sort = arguments.text("--sort").unwrap_or_else(|| "count".to_owned());
    if !["count", "age", "call", "site"].contains(&sort.as_str()) {
        arguments.refuse(&format!("--sort {sort:?}"));
    }
    arguments.end();
    let url = url.strip_prefix("http://").unwrap_or(&url);
    let host = url.split('/').next().unwrap_or(url).to_owned();
    let shown = sward::run(|| show(&host, once, interval, &sort, rows));
    if let Err(error) = shown {
        common::fail(&format!("top: {host}: {error}"));
    }
}

fn show(host: &str, once: bool, interval: Duration, sort: &str, rows: usize) -> io::Result<()> {
    let terminal = io::stdout().is_terminal();
    loop {
        let (width, height) = if terminal { size() } else { (usize::MAX, usize::MAX) };
        let frame = match facts(host) {
            Ok((summary, deadlocks)) => {
                let rows = if rows > 0 {
                    rows
                } else if once || !terminal {
                    usize::MAX
                } else {
                    height
                };
                frame(host, &summary, &deadlocks, sort, rows)
            }
            Err(error) if once => return Err(error),
            Err(error) => vec![Line::red(format!("{host}: {error}"))],
        };
        let mut text = String::new();
        if terminal && !once {
            text.push_str("\x1b[H");
        }
        let most = if once { usize::MAX } else { height.saturating_sub(1) };
        for line in frame.iter().take(most) {
            line.write(&mut text, width, terminal);
            text.push_str(if terminal && !once { "\x1b[K\n" } else { "\n" });
        }
        if terminal && !once {
            text.push_str("\x1b[J");
        }
        let mut output = io::stdout();
        output.write_all(text.as_bytes())?;
        output.flush()?;
        if once {
            return Ok(());
        }
        if !terminal {
            println!();
        }
        sward::sleep(interval);
    }
}

/// One line of a frame.
struct Line {
    text: String,
    style: &'static str,
}

impl Line {
    const BOLD: &'static str = "\x1b[1m";
    const DIM: &'static str = "\x1b[2m";
    const RED: &'static str = "\x1b[1;31m";

    fn new(text: String, style: &'static str) -> Line {
        Line { text, style }
    }

    fn plain(text: String) -> Line {
        Line::new(text, "")
    }

    fn red(text: String) -> Line {
        Line::new(text, Line::RED)
    }

    /// Names are the program's: a control character in one must not reach the terminal.
    fn write(&self, into: &mut String, width: usize, colour: bool) {
        let style = if colour { self.style } else { "" };
        into.push_str(style);
        into.extend(self.text.trim_end().chars().take(width).map(|c| if c.is_control() { '?' } else { c }));
        if !style.is_empty() {
            into.push_str("\x1b[0m");
        }
    }
}

fn frame(host: &str, summary: &Value, deadlocks: &Value, sort: &str, rows: usize) -> Vec<Line> {
    let runtimes = list(&summary["runtimes"]);
    let total = |state: &str| runtimes.iter().map(|runtime| number(&runtime[state])).sum::<u64>();
    let states = ["running", "runnable", "parked", "unstarted"].map(|state| (state, total(state)));
    let all: u64 = states.iter().map(|(_, count)| count).sum();
    let mut lines = vec![Line::new(
        format!("sward top: {host}, process {}, dump in {}", summary["process"], ms(&summary["took_ms"])),
        Line::BOLD,
    )];
    let mut text = format!("coroutines: {}", grouped(all));
    for (state, count) in states {
        let _ = write!(text, ", {} {state}", grouped(count));
    }
    let pool = &summary["blocking"];
    let calls = list(&pool["running"]).len();
    let _ = write!(text, "; blocking calls: {calls} run, {} queued", pool["queued"]);
    lines.push(Line::plain(text));
    alarms(runtimes, deadlocks, &mut lines);
    lines.push(Line::plain(String::new()));

    lines.push(Line::new(
        format!(
            "{:<16} {:<8} {:>8} {:>8} {:>8} {:>10}  runs",
            "worker", "state", "queued", "assigned", "live", "last poll"
        ),
        Line::DIM,
    ));
    for runtime in runtimes {
        for worker in list(&runtime["workers"]) {
            let name = format!("{} {}", words(&runtime["name"]), worker["index"]);
            let [queued, assigned, live] =
                ["queued", "assigned", "live"].map(|key| grouped(number(&worker[key])));
            let asleep = worker["state"] == "asleep";
            let poll = if asleep { "-".to_owned() } else { ms(&worker["since_poll_ms"]) };
            let runs = &worker["runs"];
            let runs =
                if runs.is_null() { String::new() } else { format!("{}  {}", label(runs), site(runs)) };
            let state = words(&worker["state"]);
            lines.push(Line::plain(format!(
                "{name:<16} {state:<8} {queued:>8} {assigned:>8} {live:>8} {poll:>10}  {runs}"
            )));
        }
    }
    lines.push(Line::plain(String::new()));

    lines.push(Line::new(
        format!("{:>9}  {:<24} {:>10}  {:<32} where", "count", "state", "longest", "spawned at"),
        Line::DIM,
    ));
    let stacks = list(&summary["stacks"]);
    let mut groups: Vec<&Value> = runtimes.iter().flat_map(|runtime| list(&runtime["groups"])).collect();
    groups.sort_by(|a, b| {
        let count = number(&b["count"]).cmp(&number(&a["count"]));
        match sort {
            "age" => longest(b).total_cmp(&longest(a)).then(count),
            "call" => state(a).cmp(&state(b)).then(count),
            "site" => site(a).cmp(&site(b)).then(count),
            _ => count,
        }
    });
    // A full screen has a last line for the groups that have no room.
    let shown = groups.len().min(rows.saturating_sub(lines.len() + 2).max(1));
    for group in &groups[..shown] {
        let age = if group["lasts_ms"].is_null() { String::new() } else { ms(&group["lasts_ms"]["most"]) };
        let stack = group["stack"].as_u64().and_then(|index| stacks.get(index as usize));
        let members = list(&group["members"]);
        let only = (number(&group["count"]) == 1).then(|| members.first()).flatten();
        let name = only.map(|member| format!("{}  ", label(member))).unwrap_or_default();
        lines.push(Line::plain(format!(
            "{:>9}  {:<24} {age:>10}  {:<32} {name}{}",
            grouped(number(&group["count"])),
            state(group),
            site(group),
            stack.map(own_frame).unwrap_or_default(),
        )));
    }
    let hidden = groups.len() - shown
        + runtimes.iter().map(|runtime| number(&runtime["more_groups"])).sum::<u64>() as usize;
    if hidden > 0 {
        lines.push(Line::new(format!("{:>9}  and {hidden} more groups", ""), Line::DIM));
    }
    lines
}

fn alarms(runtimes: &[Value], deadlocks: &Value, lines: &mut Vec<Line>) {
    for deadlock in list(&deadlocks["deadlocks"]) {
        let members = list(&deadlock["members"]);
        lines.push(Line::red(format!("DEADLOCK of {}:", members.len())));
        for member in members.iter().take(8) {
            let who = match member["coroutine"].as_u64() {
                Some(id) => format!("coroutine #{id}"),
                None => "a thread".to_owned(),
            };
            let what = words(&member["waits_for"]);
            let name = member["name"].as_str().map(|name| format!(" {name:?}")).unwrap_or_default();
            lines.push(Line::red(format!(
                "  {who}{name} ({}) waits in {} for {what}",
                site(member),
                words(&member["call"])
            )));
        }
    }
    for runtime in runtimes {
        for worker in list(&runtime["workers"]) {
            let since = worker["since_poll_ms"].as_f64().unwrap_or_default();
            if worker["state"] == "running" && since > STALL {
                let runs = &worker["runs"];
                let who = if runs.is_null() {
                    format!("#{}", worker["coroutine"])
                } else {
                    format!("{} ({})", label(runs), site(runs))
                };
                let others = number(&worker["live"]).saturating_sub(1);
                lines.push(Line::red(format!(
                    "STALL: worker {} of {} is in one turn of {who} for {}; {others} others live there",
                    worker["index"],
                    words(&runtime["name"]),
                    ms(&worker["since_poll_ms"])
                )));
            }
        }
    }
}

// Values.

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn longest(group: &Value) -> f64 {
    group["lasts_ms"]["most"].as_f64().unwrap_or_default()
}

fn state(group: &Value) -> String {
    let state = group["call"].as_str().unwrap_or_else(|| words(&group["state"]));
    let cancelled = if group["cancelled"] == true { ", cancelled" } else { "" };
    format!("{state}{cancelled}")
}

fn label(coroutine: &Value) -> String {
    match coroutine["name"].as_str() {
        Some(name) => format!("#{} {name:?}", coroutine["id"]),
        None => format!("#{}", coroutine["id"]),
    }
}

/// Where it was spawned, with the last parts of the path.
fn site(value: &Value) -> String {
    let at = &value["spawned_at"];
    if at.is_null() { String::new() } else { place(&at["file"], &at["line"]) }
}

fn place(file: &Value, line: &Value) -> String {
    let parts: Vec<&str> = words(file).rsplitn(4, '/').take(3).collect();
    let parts: Vec<&str> = parts.into_iter().rev().collect();
    format!("{}:{line}", parts.join("/"))
}

/// Files that are not the program's: std's, and sward's in its own repository.
const OTHER_FILES: [&str; 9] = [
    "/rustc/",
    "src/blocking/",
    "src/channel/",
    "src/io/",
    "src/net/",
    "src/sched/",
    "src/sync/",
    "src/task/",
    "src/time/",
];

/// The innermost call that is the program's own.
fn own_frame(stack: &Value) -> String {
    let symbols = list(&stack["frames"]).iter().flat_map(|frame| list(&frame["symbols"]));
    // In a release build an inlined function has a short name, so the file decides as well.
    let is_own = |symbol: &&Value| {
        let (name, file) = (words(&symbol["name"]).trim_start_matches('<'), words(&symbol["file"]));
        let library = ["sward::", "std::", "core::", "alloc::"].iter().any(|start| name.starts_with(start));
        let elsewhere = OTHER_FILES.iter().any(|part| file.starts_with(part))
            || ["/sward-", "/sysdeps/"].iter().any(|part| file.contains(part));
        !library && !elsewhere && !file.is_empty()
    };
    let found = symbols.clone().find(is_own).or_else(|| symbols.last());
    let text =
        |symbol: &Value| format!("{} at {}", words(&symbol["name"]), place(&symbol["file"], &symbol["line"]));
    found.map(text).unwrap_or_default()
}

fn ms(value: &Value) -> String {
    let seconds = value.as_f64().unwrap_or_default().max(0.0) / 1000.0;
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    format!("{duration:.1?}")
}

/// A number with a comma after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

// The server.

fn facts(host: &str) -> io::Result<(Value, Value)> {
    Ok((get(host, "/summary.json")?, get(host, "/deadlocks.json")?))
}

fn get(host: &str, path: &str) -> io::Result<Value> {
    let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let answer = timeout(ANSWER_TIME, || -> io::Result<Vec<u8>> {
        let address = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut stream = TcpStream::connect(&*address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    let answer = String::from_utf8(answer).map_err(|_| bad("the answer is no text"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| bad("the answer has no head"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("{path}: {status:?}")));
    }
    serde_json::from_str(body).map_err(|error| bad(&format!("{path}: {error}")))
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the place for the size lives until the call ends.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    match (known, size.ws_col, size.ws_row) {
        (true, columns @ 1.., rows @ 1..) => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}
