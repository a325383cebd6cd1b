//! The service `gateway`, as a process of its own, before upstreams on plain threads.

mod common;

use common::{Service, Upstream, connect, get, metric, ok, refuses, send, talk, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// A gateway that asks each upstream for its health once, so that no check of a slow machine takes one out.
fn start(upstreams: &[&str], arguments: &[&str]) -> Service {
    let mut all = vec!["--health", "/health", "--health-millis", "1000000"];
    for upstream in upstreams {
        all.extend(["--upstream", upstream]);
    }
    all.extend(arguments);
    Service::start(env!("CARGO_BIN_EXE_gateway"), &all)
}

/// An upstream that answers with the request that it got.
fn mirror() -> Upstream {
    Upstream::start(|request, stream| stream.write_all(ok(request).as_bytes()))
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address").to_string()
}

fn metrics(gateway: &Service) -> String {
    get(&gateway.admin, "/metrics").body
}

#[test]
fn requests_take_turns() {
    let (one, other) = (mirror(), mirror());
    let gateway = start(&[&one.address, &other.address], &[]);
    for _ in 0..20 {
        assert_eq!(get(&gateway.address, "/").status, 200);
    }
    assert_eq!((one.requests(), other.requests()), (10, 10));
}

/// With `least`, the upstream that works on a request gets no second one.
#[test]
fn the_least_busy_upstream_is_chosen() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let slow = Upstream::start(move |_, stream| {
        let _ = held.lock().expect("not poisoned").recv();
        stream.write_all(ok("slow").as_bytes())
    });
    let quick = mirror();
    let gateway = start(&[&slow.address, &quick.address], &["--balance", "least"]);
    let address = gateway.address.clone();
    let first = thread::spawn(move || while get(&address, "/").body != "slow" {});
    wait_for("the slow one has a request", || slow.requests() == 1);
    for _ in 0..10 {
        assert_ne!(get(&gateway.address, "/").body, "slow");
    }
    assert_eq!(slow.requests(), 1);
    hold.send(()).expect("it waits");
    first.join().expect("an answer");
}

#[test]
fn fields_of_one_hop_are_removed_and_the_client_is_named() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    let fields = "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\nX-Secret: 1\r\nUpgrade: h2c\r\n\
         Connection: X-Secret, content-length, host\r\nX-Kept: 1\r\nProxy-Authorization: x\r\nCookie: a=1\r\n\
         Cookie: b=2\r\n";
    let sent = send(&gateway.address, "POST", "/path?query=1", fields, "body").body.to_lowercase();
    assert!(sent.starts_with("post /path?query=1 http/1.1\r\n") && sent.ends_with("\r\n\r\nbody"), "{sent}");
    for kept in ["host: test", "x-kept: 1", "content-length: 4", "via: 1.1 sward-gateway", "cookie: a=1; b=2"]
    {
        assert!(sent.contains(&format!("\r\n{kept}\r\n")), "{kept} in {sent}");
    }
    for removed in
        ["keep-alive:", "proxy-connection:", "x-secret:", "upgrade:", "proxy-authorization:", "1.2.3.4"]
    {
        assert!(!sent.contains(removed), "{removed} in {sent}");
    }
    assert!(sent.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{sent}");
    assert!(sent.contains("\r\nx-forwarded-proto: http\r\n"), "{sent}");
    assert!(sent.contains("\r\nforwarded: for=127.0.0.1;host=\"test\";proto=http\r\n"), "{sent}");

    let gateway = start(&[&upstream.address], &["--trust-forwarded", "yes"]);
    let sent = send(&gateway.address, "GET", "/", fields, "").body.to_lowercase();
    assert!(sent.contains("\r\nx-forwarded-for: 1.2.3.4, 127.0.0.1\r\n"), "{sent}");
    assert!(sent.contains("\r\nx-forwarded-proto: https\r\n"), "{sent}");
}

#[test]
fn only_hosts_of_the_list_are_served() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &["--host", "example.com", "--host", "test"]);
    for (host, status) in
        [("Example.COM:8091", "200"), ("test", "200"), ("example.com.evil", "421"), ("", "421")]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = talk(&gateway.address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn what_asks_about_the_server_is_for_no_upstream() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    let answer = talk(&gateway.address, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 204 ") && answer.to_lowercase().contains("\r\nallow: get, "),
        "{answer}"
    );
    assert_eq!(upstream.requests(), 0);
    assert_eq!(send(&gateway.address, "OPTIONS", "/", "", "").status, 200);
    assert_eq!(upstream.requests(), 1);
}

/// None of these reaches an upstream as anything but one request.
#[test]
fn hostile_requests_are_refused() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &["--body", "1000"]);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(200));
    let long = format!("{chunked}\r\n7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2_000));
    for (request, statuses) in [
        ("GET / HTTP/1.1\r\n\r\n", &[400][..]),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[501]),
        ("GET http://a@b/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n", &[400]),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "Via: 1.1 sward-gateway\r\n".repeat(9)), &[508]),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        (&format!("{chunked}\r\nxyz\r\n"), &[400]),
        (&format!("{chunked}\r\n-1\r\nabc\r\n"), &[400]),
        (&format!("{chunked}\r\n3\r\nabcdef\r\n0\r\n\r\n"), &[400]),
        (&format!("{chunked}\r\nffffffffffffffffff\r\n"), &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", &[413]),
        (&long, &[413]),
        (&large, &[431]),
        (&many, &[400, 431]),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[405]),
        ("CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\nConnection: close\r\n\r\n", &[405]),
    ] {
        // The request behind it must not be answered on a connection whose framing is in doubt.
        let mut stream = connect(&gateway.address);
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        assert!(
            status.is_some_and(|status| statuses.contains(&status)),
            "{statuses:?} {request:.200?}: {answer:?}"
        );
    }
    assert_eq!(get(&gateway.address, "/").status, 200);
}

/// Both a length and chunks: whatever the order, the chunks count, the upstream gets one request, and the
/// connection ends, so that the bytes behind it are no request.
#[test]
fn nothing_is_smuggled() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 55\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let before = upstream.requests();
        let request = format!(
            "POST /outer HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = talk(&gateway.address, &request);
        assert!(!answer.contains("/smuggled"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert_eq!(upstream.requests(), before + 1);
    }
}

#[test]
fn requests_that_reached_nobody_are_sent_again() {
    let upstream = mirror();
    let nobody = nobody();
    let gateway = start(&[&nobody, &upstream.address], &[]);
    for _ in 0..6 {
        // Also one that is not idempotent, with a body: none of it was sent.
        assert_eq!(send(&gateway.address, "POST", "/", "", "body").status, 200);
    }
    wait_for("the attempts have seen it", || {
        metric(&metrics(&gateway), &format!("gateway_upstream_up{{upstream=\"{nobody}\"}}")) == 0.0
    });
    assert_eq!(get(&gateway.admin, "/healthz").status, 200);
    let alone = start(&[&nobody], &[]);
    assert!([502, 503].contains(&get(&alone.address, "/").status));
    wait_for("the health of the gateway", || get(&alone.admin, "/healthz").status == 503);
    assert_eq!(get(&alone.address, "/").status, 503);
}

/// An upstream that takes a request and breaks off: `GET` is repeated, `POST` is not.
#[test]
fn only_idempotent_requests_are_repeated() {
    let breaks = Upstream::start(|_, _| Ok(()));
    let gateway = start(&[&breaks.address], &["--retries", "2"]);
    assert_eq!(get(&gateway.address, "/").status, 502);
    assert_eq!(breaks.requests(), 3);
    assert_eq!(send(&gateway.address, "POST", "/", "", "").status, 502);
    assert_eq!(breaks.requests(), 4);
    // A body that was read cannot be sent again.
    assert_eq!(send(&gateway.address, "PUT", "/", "", "body").status, 502);
    assert_eq!(breaks.requests(), 5);

    // A byte of the answer has arrived: the client gets the cut, and not another answer behind it.
    let (received, is_received) = std::sync::mpsc::channel();
    let is_received = Mutex::new(is_received);
    let cuts = Upstream::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        // If the cut arrives together with the bytes, hyper drops both.
        let _ = is_received.lock().expect("no panic").recv();
        Ok(())
    });
    let gateway = start(&[&cuts.address], &[]);
    let mut stream = connect(&gateway.address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"half") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the first half");
        answer.extend(byte);
    }
    received.send(()).expect("it waits");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(answer.starts_with(b"HTTP/1.1 200") && rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(cuts.requests(), 1);
}

#[test]
fn an_upstream_that_does_not_answer_has_a_time_limit() {
    let silent = Upstream::start(|_, stream| stream.read(&mut [0]).map(drop));
    let gateway = start(&[&silent.address], &["--answer-seconds", "3"]);
    assert_eq!(get(&gateway.address, "/").status, 504);
    assert!(silent.requests() <= 1, "it was repeated");
}

/// The time of a slow upload is the client's, and not the upstream's. Only a pause has a limit.
#[test]
fn a_slow_upload_is_no_slow_upstream() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &["--answer-seconds", "2"]);
    let begin = || {
        let mut stream = connect(&gateway.address);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("written");
        stream
    };
    let (mut slow, mut stopped) = (begin(), begin());
    stopped.write_all(b"a").expect("written");
    for byte in b"hello" {
        thread::sleep(Duration::from_millis(700));
        slow.write_all(&[*byte]).expect("written");
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    answer.clear();
    let _ = stopped.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let failures = format!("gateway_upstream_failures_total{{upstream=\"{}\"}}", upstream.address);
    assert_eq!(metric(&metrics(&gateway), &failures), 0.0);
}

/// An upstream answers early, and the client has not sent its whole body: the request keeps its place. If the
/// client pauses, it loses it.
#[test]
fn an_early_answer_does_not_free_the_place_of_its_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let gateway = start(&[&address], &["--answer-seconds", "3"]);
    let mut stream = connect(&gateway.address);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na").expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the early answer");
        answer.extend(byte);
    }
    thread::sleep(Duration::from_millis(300));
    assert_eq!(metric(&metrics(&gateway), "gateway_requests"), 1.0);
    wait_for("its place is free", || metric(&metrics(&gateway), "gateway_requests") == 0.0);
}

#[test]
fn too_many_requests_at_once_are_refused() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(held);
    let silent = Upstream::start(move |_, stream| {
        let _ = waits.lock().expect("not poisoned").recv();
        stream.write_all(ok("late").as_bytes())
    });
    let gateway = start(&[&silent.address], &["--requests", "2", "--answer-seconds", "60"]);
    let mut held: Vec<_> = (0..2).map(|_| connect(&gateway.address)).collect();
    for stream in &mut held {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    }
    wait_for("both are there", || silent.requests() == 2);
    let refused = get(&gateway.address, "/");
    assert!(refused.status == 503 && refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(metric(&metrics(&gateway), "gateway_refused_total"), 1.0);
    // Answers free the places.
    drop(hold);
    wait_for("they are gone", || metric(&metrics(&gateway), "gateway_requests") == 0.0);
}

/// A tunnel of h2c would lead past the gateway's rules, so an upstream never hears of it.
#[test]
fn only_websockets_are_upgrades() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    for protocols in ["h2c", "websocket, h2c", "websocket\r\nUpgrade: h2c"] {
        let fields =
            format!("Upgrade: {protocols}\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: x\r\n");
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut stream = connect(&gateway.address);
        stream.write_all(request.as_bytes()).expect("written");
        stream.shutdown(Shutdown::Write).expect("shut down");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let sent = answer.to_lowercase();
        assert!(sent.starts_with("http/1.1 200"), "{sent}");
        assert!(!sent.contains("upgrade") && !sent.contains("http2-settings"), "{sent}");
    }
}

/// A client pretends nothing: not with other fields, and not with bytes that are no text.
#[test]
fn claims_of_clients_are_removed() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &["--trust-forwarded", "no"]);
    let mut stream = connect(&gateway.address);
    let fields = "Connection: close, \u{e9}, X-Secret\r\nX-Secret: 1\r\nProxy: http://evil\r\nX_Forwarded_For: 1.2.3.4\r\n\
         X-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 99\r\nX-Forwarded-For: 1.2.3.4\r\nX-Kept: 1\r\n";
    write!(stream, "GET http://test?a=1 HTTP/1.1\r\nHost: test\r\n{fields}\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let sent = answer.to_lowercase();
    assert!(sent.contains("get /?a=1 http/1.1\r\n") && sent.contains("\r\nx-kept: 1\r\n"), "{sent}");
    for removed in ["x-secret", "\r\nproxy:", "x_forwarded", "x-real-ip", "x-forwarded-port", "1.2.3.4"] {
        assert!(!sent.contains(removed), "{removed} in {sent}");
    }
}

/// The answer to a `HEAD` tells the length of the body that a `GET` gets, or nothing.
#[test]
fn an_answer_to_head_has_no_length_of_its_own() {
    let upstream = Upstream::start(|request, stream| {
        let length = if request.starts_with("HEAD /known ") { "Content-Length: 77\r\n" } else { "" };
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n")
    });
    let gateway = start(&[&upstream.address], &[]);
    let head = send(&gateway.address, "HEAD", "/known", "", "").head;
    assert!(head.contains("\r\ncontent-length: 77"), "{head}");
    let head = send(&gateway.address, "HEAD", "/unknown", "", "").head;
    assert!(!head.contains("content-length"), "{head}");
}

/// An upstream's answer with both a length and chunks arrives whole.
#[test]
fn the_chunks_of_an_answer_count() {
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
              b\r\nhello world\r\n0\r\n\r\n",
        )
    });
    let gateway = start(&[&upstream.address], &[]);
    let answer = get(&gateway.address, "/");
    assert!(answer.body.contains("hello world"), "{} {}", answer.head, answer.body);
    assert!(!answer.head.contains("content-length"), "{}", answer.head);
}

/// The chunks of a request's body reach the upstream, whatever the method is.
#[test]
fn a_get_with_chunks_keeps_its_body() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    let answer = talk(&gateway.address, request);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello"), "{answer}");
}

/// Arguments that would leave a service less safe than they look.
#[test]
fn arguments_are_not_misread() {
    let program = env!("CARGO_BIN_EXE_gateway");
    let upstream = ["--upstream", "127.0.0.1:1"];
    refuses(program, &[&upstream[..], &["--trust-forwarded", "maybe"]].concat());
    refuses(program, &[&upstream[..], &["--trust-forwarded"]].concat());
    refuses(program, &[&upstream[..], &["--cert", "a.pem"]].concat());
    refuses(program, &[&upstream[..], &["--key", "a.pem"]].concat());
    refuses(program, &[&upstream[..], &["--health", "health"]].concat());
}

/// Several MiB in both directions, and the upstream reads them from chunks.
#[test]
fn bodies_stream() {
    let upstream = mirror();
    let gateway = start(&[&upstream.address], &[]);
    let body = "0123456789abcdef".repeat(200_000);
    let answer = send(&gateway.address, "POST", "/", "", &body);
    assert!(answer.body.ends_with(&body), "{} of {}", answer.body.len(), body.len());
}

/// A WebSocket server of tungstenite, on threads.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept(stream) else { return };
                while let Ok(message) = socket.read() {
                    if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A gateway before such a server. Health checks are no handshakes, and get no answer, so there is only one.
fn before_echo(echo: &str, arguments: &[&str]) -> Service {
    let all = [&["--upstream", echo, "--health-millis", "1000000"], arguments].concat();
    Service::start(env!("CARGO_BIN_EXE_gateway"), &all)
}

#[test]
fn websockets_pass_through_and_drain() {
    let echo = echo();
    let mut gateway = before_echo(&echo, &["--grace", "50"]);
    let open = |gateway: &Service| {
        let url = format!("ws://{}/", gateway.address);
        tungstenite::client(url, connect(&gateway.address)).expect("a handshake").0
    };
    let mut sockets: Vec<_> = (0..10).map(|_| open(&gateway)).collect();
    let large = "x".repeat(300_000);
    for socket in &mut sockets {
        for text in ["one", &large] {
            socket.send(text.into()).expect("sent");
            assert_eq!(socket.read().expect("a message"), text.into());
        }
    }
    // It still works while the gateway drains, and its end ends the gateway.
    let mut last = sockets.pop().expect("one of ten");
    drop(sockets);
    gateway.terminate();
    wait_for("the listener is closed", || std::net::TcpStream::connect(&gateway.address).is_err());
    last.send("late".into()).expect("sent");
    assert_eq!(last.read().expect("a message"), "late".into());
    last.close(None).expect("sent");
    while last.read().is_ok() {}
    drop(last);
    assert!(gateway.ended().success());
}

/// WebSockets have places of their own.
#[test]
fn websockets_take_no_places_of_requests() {
    let echo = echo();
    let gateway = before_echo(&echo, &["--tunnels", "1"]);
    let url = format!("ws://{}/", gateway.address);
    let mut socket = tungstenite::client(&url, connect(&gateway.address)).expect("a handshake").0;
    socket.send("x".into()).expect("sent");
    assert_eq!(socket.read().expect("a message"), "x".into());
    assert!(tungstenite::client(&url, connect(&gateway.address)).is_err(), "a second one");
    let text = metrics(&gateway);
    assert_eq!((metric(&text, "gateway_tunnels"), metric(&text, "gateway_requests")), (1.0, 0.0));
    assert_eq!(metric(&text, "gateway_refused_total"), 1.0);
}

/// A WebSocket that outlasts the grace is cut, and the exit code says so.
#[test]
fn a_websocket_that_is_cut_is_no_success() {
    let echo = echo();
    let mut gateway = before_echo(&echo, &["--grace", "1"]);
    let url = format!("ws://{}/", gateway.address);
    let mut socket = tungstenite::client(url, connect(&gateway.address)).expect("a handshake").0;
    socket.send("x".into()).expect("sent");
    assert_eq!(socket.read().expect("a message"), "x".into());
    gateway.terminate();
    assert_eq!(gateway.ended().code(), Some(1));
}

#[test]
fn a_silent_websocket_is_cut() {
    let echo = echo();
    let gateway = before_echo(&echo, &["--idle-seconds", "5"]);
    let url = format!("ws://{}/", gateway.address);
    let mut socket = tungstenite::client(url, connect(&gateway.address)).expect("a handshake").0;
    socket.send("x".into()).expect("sent");
    assert_eq!(socket.read().expect("a message"), "x".into());
    assert!(socket.read().is_err(), "it is silent");
}

/// SIGTERM while an answer is made: it arrives, and the gateway ends.
#[test]
fn sigterm_drains() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Upstream::start(move |_, stream| {
        let _ = held.lock().expect("not poisoned").recv();
        stream.write_all(ok("late").as_bytes())
    });
    let mut gateway = start(&[&upstream.address], &["--grace", "50"]);
    let address = gateway.address.clone();
    let client = thread::spawn(move || get(&address, "/").body);
    wait_for("the request is there", || upstream.requests() == 1);
    gateway.terminate();
    wait_for("the listener is closed", || std::net::TcpStream::connect(&gateway.address).is_err());
    thread::sleep(Duration::from_millis(50));
    hold.send(()).expect("it waits");
    assert_eq!(client.join().expect("an answer"), "late");
    assert!(gateway.ended().success());
}
