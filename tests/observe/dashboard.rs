//! The server of the dashboard, driven by plain sockets: what it answers, and what it refuses.

#[cfg(not(sward_migrate))]
use crate::common::child_command;
use crate::find::start;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use sward::observe::{Dashboard, Server, serve};
#[cfg(not(sward_migrate))]
use sward::sync::Mutex;

fn dashboard() -> Server {
    serve("127.0.0.1:0").expect("served")
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
    stream
}

/// Sends that, and reads until the server closes.
fn talk(server: &Server, request: &str) -> String {
    let mut stream = connect(server);
    // A server that refuses may close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("UTF-8")
}

/// The head and the body of an answer to `GET`.
fn get(server: &Server, path: &str) -> (String, String) {
    let answer =
        talk(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    assert_eq!(length, body.len().to_string(), "{head}");
    (head.to_owned(), body.to_owned())
}

fn get_json(server: &Server, path: &str) -> Value {
    let (head, body) = get(server, path);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/json"), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

/// The status of the answer.
fn status(server: &Server, request: &str) -> String {
    talk(server, request).split(' ').nth(1).unwrap_or("none").to_owned()
}

#[test]
fn it_answers_what_it_promises() {
    let server = dashboard();
    let sleeper = start("seen by the dashboard", || sward::sleep(Duration::MAX));
    crate::find::until_parked("seen by the dashboard", "sleep");
    assert_eq!(get(&server, "/healthz").1, "ok\n");
    let (_, text) = get(&server, "/dump?full=1");
    assert!(text.starts_with("sward: dump of process") && text.contains("seen by the dashboard"), "{text}");
    assert!(get(&server, "/dump").1.starts_with("sward: dump of process"));
    let dump = get_json(&server, "/dump.json");
    let runtimes = dump["runtimes"].as_array().expect("a list");
    assert!(runtimes.iter().all(|runtime| runtime["name"] != "sward-observe"), "it shows its own runtime");
    let named = |runtime: &Value| runtime["coroutines"].to_string().contains("seen by the dashboard");
    assert!(runtimes.iter().any(named), "{dump}");
    assert!(get_json(&server, "/deadlocks.json")["deadlocks"].is_array());
    let sites = get_json(&server, "/sites.json").to_string();
    assert!(sites.contains("dashboard.rs") && !sites.contains("src/observe/dashboard/mod.rs"), "{sites}");
    let (head, metrics) = get(&server, "/metrics");
    assert!(head.contains("text/plain; version=0.0.4") && metrics.contains("\nsward_workers "), "{metrics}");
    assert!(get(&server, "/metrics?runtime=nobody").0.starts_with("HTTP/1.1 404 "));
    assert!(get_json(&server, "/trace?seconds=0.01")["traceEvents"].is_array());
    assert!(get_json(&server, "/trace?last=1")["traceEvents"].is_array());
    for query in ["", "?seconds=-1", "?seconds=1e9", "?seconds=x", "?last=NaN", "?seconds=1&last=1"] {
        assert!(get(&server, &format!("/trace{query}")).0.starts_with("HTTP/1.1 400 "), "{query}");
    }
    assert!(get(&server, "/leaks").0.starts_with("HTTP/1.1 200 "));
    assert!(get(&server, "/sites").0.contains("text/plain"));
    sleeper.cancel();
}

#[test]
fn a_summary_counts_each_coroutine_once() {
    let server = dashboard();
    let many: Vec<_> =
        (0..500).map(|_| start("one of many", || sward::sleep(Duration::from_secs(86_400)))).collect();
    let group = loop {
        let summary = get_json(&server, "/summary.json");
        let list = |value: &Value| value.as_array().expect("a list").clone();
        for runtime in list(&summary["runtimes"]) {
            let number = |value: &Value| value.as_u64().expect("a number");
            let grouped: u64 = list(&runtime["groups"]).iter().map(|group| number(&group["count"])).sum();
            let states = ["running", "runnable", "parked"].map(|state| number(&runtime[state]));
            assert_eq!(grouped + number(&runtime["in_more_groups"]), states.iter().sum::<u64>());
        }
        let groups: Vec<_> = list(&summary["runtimes"]).iter().flat_map(|one| list(&one["groups"])).collect();
        let is_ours =
            |group: &&Value| group["members"].to_string().contains("one of many") && group["call"] == "sleep";
        let found: Vec<&Value> = groups.iter().filter(is_ours).collect();
        let count: u64 = found.iter().filter_map(|group| group["count"].as_u64()).sum();
        if count == 500 {
            break found[0].clone();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(group["members"].as_array().expect("a list").len() <= 8);
    assert!(group["spawned_at"]["file"].as_str().expect("a file").ends_with("dashboard.rs"));
    many.iter().for_each(|coroutine| _ = coroutine.cancel());
}

#[test]
fn the_page_is_one_file_and_its_policy_lets_nothing_else_run() {
    let server = dashboard();
    let (head, page) = get(&server, "/");
    let policy =
        head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!page.contains("@NONCE@") && !page.contains("innerHTML"));
    for outside in ["src=", "@import", "url(", "https://"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_ne!(get(&server, "/").0, head, "each answer has a nonce of its own");
    assert!(head.contains("X-Content-Type-Options: nosniff") && !head.contains("Access-Control"), "{head}");
}

#[test]
fn only_reads_are_answered() {
    let server = dashboard();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"] {
        let answer = talk(&server, &format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"),
            "{answer}"
        );
    }
    let head = talk(&server, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(
        status(&server, "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        "404"
    );
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = dashboard();
    let port = server.local_addr().port();
    for (fields, expected) in [
        (format!("Host: localhost:{port}"), "200"),
        (format!("Host: 127.0.0.1:{port}"), "200"),
        ("Host: [::1]".to_owned(), "200"),
        ("Host: evil.example".to_owned(), "421"),
        (format!("Host: evil.example:{port}"), "421"),
        ("Host: localhost.evil.example".to_owned(), "421"),
        ("Host: ".to_owned(), "421"),
        ("X: y".to_owned(), "400"),
        ("Host: localhost\r\nHost: evil.example".to_owned(), "400"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors".to_owned(), "403"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate".to_owned(), "403"),
        ("Host: localhost\r\nOrigin: http://evil.example".to_owned(), "403"),
        ("Host: localhost\r\nReferer: http://evil.example/".to_owned(), "403"),
        ("Host: localhost\r\nReferer: http://localhost/".to_owned(), "200"),
        ("Host: localhost\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors".to_owned(), "200"),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&server, &request), expected, "{fields}");
    }
    let known = Dashboard::new().host("build-7.example").serve("127.0.0.1:0").expect("served");
    let request = "GET /healthz HTTP/1.1\r\nHost: build-7.example:80\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&known, request), "200");
}

#[test]
fn requests_that_cannot_be_read_are_refused() {
    let server = dashboard();
    let long = "x".repeat(9_000);
    let many = "A: b\r\n".repeat(100);
    for (request, expected) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nLong: {long}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), "431"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "413"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "413",
        ),
    ] {
        assert_eq!(status(&server, &request), expected, "{:.60}", request);
    }
}

#[test]
fn requests_may_be_pipelined_and_fragmented() {
    let server = dashboard();
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = talk(&server, &format!("{}{last}", one.repeat(20)));
    assert_eq!(answer.matches("\r\n\r\nok\n").count(), 21, "{answer}");
    let mut stream = connect(&server);
    for byte in last.bytes() {
        stream.write_all(&[byte]).expect("written");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    // HTTP/1.0 closes, unless the client asks for more.
    assert!(talk(&server, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").contains("Connection: close"));
}

#[test]
fn slow_and_idle_clients_lose_their_connections() {
    let server = dashboard();
    let mut slow = connect(&server);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").expect("written");
    let mut idle: Vec<TcpStream> = (0..40).map(|_| connect(&server)).collect();
    // More than the server serves at a time: the last ones wait until it has ended the first ones.
    let last = idle.last_mut().expect("one");
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("written");
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut nothing = Vec::new();
    assert_eq!(idle[0].read_to_end(&mut nothing).expect("an end"), 0);
}

#[test]
fn a_remote_address_must_be_asked_for() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = serve(address).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{address}: {error}");
        assert!(error.to_string().contains("allow_remote"), "{error}");
    }
    let server = Dashboard::new().allow_remote(true).serve("0.0.0.0:0").expect("served");
    let port = server.local_addr().port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn it_answers_while_all_workers_are_stuck() {
    let server = dashboard();
    let runtime = sward::runtime::Builder::new()
        .worker_threads(1)
        .thread_name("stuck")
        .stall_threshold(Duration::from_secs(60))
        .build()
        .expect("built");
    let (free, stuck) = std::sync::mpsc::channel::<()>();
    let coroutine = runtime.spawn(move || stuck.recv());
    let worker = loop {
        let summary = get_json(&server, "/summary.json");
        let runtimes = summary["runtimes"].as_array().expect("a list");
        let ours = runtimes.iter().find(|runtime| runtime["name"] == "stuck").expect("it is shown");
        let worker = ours["workers"][0].clone();
        if worker["state"] == "running" && worker["since_poll_ms"].as_f64().expect("a number") > 100.0 {
            break worker;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(worker["coroutine"].is_u64(), "{worker}");
    free.send(()).expect("it waits");
    coroutine.join().expect("no panic").expect("sent");
}

#[test]
fn a_stopped_server_is_gone_and_a_dropped_one_stays() {
    let server = dashboard();
    let address = server.local_addr();
    sward::spawn(move || server.stop()).join().expect("stopped");
    assert!(TcpStream::connect(address).is_err());
    let server = dashboard();
    let address = server.local_addr();
    drop(server);
    assert!(TcpStream::connect(address).is_ok());
}

// Nobody may look at the waits of coroutines that migrate, so no deadlock is found among them.
#[cfg(not(sward_migrate))]
#[test]
fn a_deadlock_is_served_with_its_members() {
    // A child, since a report would end this process where reports abort.
    let Some(mut child) = child_command(|| {
        serve_a_deadlock();
    }) else {
        return;
    };
    let output = child.env("SWARD_DEADLOCKS", "0").output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[cfg(not(sward_migrate))]
fn serve_a_deadlock() {
    static BOTH: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2];
    let server = dashboard();
    let barrier = std::sync::Arc::new(sward::sync::Barrier::new(2));
    let members: Vec<_> = (0..2)
        .map(|number| {
            let barrier = barrier.clone();
            start(&format!("in a served deadlock {number}"), move || {
                let _own = BOTH[number].lock();
                barrier.wait();
                drop(BOTH[1 - number].lock());
            })
        })
        .collect();
    let deadlock = loop {
        let all = get_json(&server, "/deadlocks.json");
        let all = all["deadlocks"].as_array().expect("a list").clone();
        if let Some(found) = all.into_iter().find(|one| one.to_string().contains("in a served deadlock")) {
            break found;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(deadlock["version"], 1);
    let shown = deadlock["members"].as_array().expect("a list");
    assert_eq!(shown.len(), 2);
    for member in shown {
        assert_eq!(member["call"], "Mutex::lock");
        assert_eq!(member["subject"]["kind"], "lock");
        assert!(member["waits_for"].as_str().expect("text").starts_with("lock 0x"), "{member}");
        assert!(member["spawned_at"]["file"].as_str().expect("a file").ends_with("dashboard.rs"));
    }
    members.iter().for_each(|member| _ = member.cancel());
}
