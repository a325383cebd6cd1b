//! Requests that show whether a server keeps to HTTP/1.1, with the answers that RFC 9112 demands.

/// Requests that must be refused, each with the status. A second request follows each, which must not be
/// answered: a server that accepts the first one finds the second one inside or behind it.
pub const REFUSED: &[(&str, &str)] = &[
    // Requests that two readers may understand differently, which lets a client smuggle a request past a
    // proxy.
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 5\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n", "400"),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "400"),
    ("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
        "501",
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Content-Length: 3\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "400"),
    // The exact syntax of chunks.
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n", "400"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "400"),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n",
        "400",
    ),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nabc\r\n", "413"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\nabc\r\n", "413"),
    // The host and the target.
    ("GET / HTTP/1.1\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: a:port\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400"),
    ("GET http://a/ HTTP/1.1\r\n\r\n", "400"),
    ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: the worst\r\n\r\n", "417"),
    ("nonsense\r\n\r\n", "400"),
    // Too large.
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", "413"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", "413"),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n", "413"),
];

/// The request after a refused one.
pub const NEVER_ANSWERED: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Requests that are answered: the request, the status, the end of the answer, and whether the connection
/// stays open.
pub const ANSWERED: &[(&str, &str, &str, bool)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200", HELLO, true),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "200", HELLO, true),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "200", HELLO, true),
    ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "200", HELLO, true),
    ("GET /?query HTTP/1.1\r\nhost: localhost:8080\r\n\r\n", "200", HELLO, true),
    // The form that a client sends to a proxy. A server must accept it as well.
    ("GET http://localhost:80/ HTTP/1.1\r\nHost: other\r\n\r\n", "200", HELLO, true),
    ("GET HTTP://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", HELLO, true),
    ("GET http://localhost?query HTTP/1.1\r\nHost: localhost\r\n\r\n", "200", HELLO, true),
    ("GET http://localhost/no HTTP/1.1\r\nHost: localhost\r\n\r\n", "404", "not found\n", true),
    // `Connection` is a list, perhaps in several fields.
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE ,\tClose\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nConnection: close\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", "200", HELLO, true),
    ("GET / HTTP/1.0\r\n\r\n", "200", HELLO, false),
    ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "200", HELLO, true),
    ("GET / HTTP/1.0\r\nConnection: TE, keep-alive\r\n\r\n", "200", HELLO, true),
    // Bodies.
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "200", "\r\n\r\nabc", true),
    ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc", "200", "\r\n\r\nabc", true),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "200",
        "\r\n\r\n",
        true,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
         2\r\nab\r\n001;x=\"y\"\r\nc\r\nA ;z\r\n0123456789\r\n0;last\r\nTrailer: x\r\n\r\n",
        "200",
        "\r\n\r\nabc0123456789",
        true,
    ),
    ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", "404", "not found\n", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", "200", HELLO, true),
    ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "405", "not allowed\n", true),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "404", "not found\n", true),
];

const HELLO: &str = "\r\n\r\nHello, World!\n";

/// Drives a server with both lists. `talk` sends a text over a new connection, and returns all bytes until an
/// end without an error.
pub fn drive(talk: impl Fn(&str) -> String) {
    for (request, status) in REFUSED {
        let answer = talk(&format!("{request}{NEVER_ANSWERED}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} for {request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{request:?}: {answer}");
    }
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (request, status, end, goes_on) in ANSWERED {
        let answer = talk(&format!("{request}{last}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} for {request:?}: {answer}");
        let mut answers = answer.match_indices("HTTP/1.1 ").map(|(at, _)| at);
        let second = answers.nth(1);
        let first = &answer[..second.unwrap_or(answer.len())];
        assert!(first.ends_with(end), "{request:?}: {answer}");
        assert_eq!(second.is_some(), *goes_on, "{request:?}: {answer}");
        // HTTP/1.0 closes unless both sides say otherwise.
        let option = match (goes_on, request.contains("HTTP/1.0")) {
            (false, _) => "\r\nConnection: close\r\n",
            (true, true) => "\r\nConnection: keep-alive\r\n",
            (true, false) => "",
        };
        assert!(first.contains(option), "{request:?}: {answer}");
        assert!(first.contains("\r\nDate: ") && first.contains(" GMT\r\n"), "{request:?}: {answer}");
    }
}
