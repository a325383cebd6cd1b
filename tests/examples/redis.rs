//! `redis`.

use crate::http::{exchange, strict_talk};
use crate::programs::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A command in the form that clients send.
fn command(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

#[test]
fn redis_carries_commands_out() {
    carries_commands_out(&[]);
}

/// The same without coroutines for idle connections.
#[test]
fn redis_carries_commands_out_in_activations() {
    carries_commands_out(&["--serve"]);
}

fn carries_commands_out(arguments: &[&str]) {
    let Some(server) = Server::start("redis", arguments) else { return };
    let mut stream = server.connect();
    for (words, expected) in [
        (&["PING"][..], "+PONG\r\n"),
        (&["ping", "a b"], "$3\r\na b\r\n"),
        (&["GET", "k"], "$-1\r\n"),
        (&["SET", "k", "one\r\ntwo"], "+OK\r\n"),
        (&["GET", "k"], "$8\r\none\r\ntwo\r\n"),
        (&["SET", "empty", ""], "+OK\r\n"),
        (&["GET", "empty"], "$0\r\n\r\n"),
        (&["EXISTS", "k", "empty", "no"], ":2\r\n"),
        (&["DBSIZE"], ":2\r\n"),
        (&["DEL", "k", "empty", "no"], ":2\r\n"),
        (&["DEL", "k"], ":0\r\n"),
        (&["INCR", "n"], ":1\r\n"),
        (&["INCR", "n"], ":2\r\n"),
        (&["DECR", "n"], ":1\r\n"),
        (&["GET", "n"], "$1\r\n1\r\n"),
        (&["SET", "n", "9223372036854775807"], "+OK\r\n"),
        (&["INCR", "n"], "-ERR increment or decrement would overflow\r\n"),
        (&["DECR", "n"], ":9223372036854775806\r\n"),
        (&["SET", "n", "-9223372036854775808"], "+OK\r\n"),
        (&["DECR", "n"], "-ERR increment or decrement would overflow\r\n"),
        (&["SET", "n", "9223372036854775808"], "+OK\r\n"),
        (&["DECR", "n"], "-ERR value is not an integer or out of range\r\n"),
        (&["SET", "n", "many"], "+OK\r\n"),
        (&["INCR", "n"], "-ERR value is not an integer or out of range\r\n"),
        (&["TTL", "n"], ":-1\r\n"),
        (&["TTL", "no"], ":-2\r\n"),
        (&["EXPIRE", "no", "10"], ":0\r\n"),
        (&["EXPIRE", "n", "100"], ":1\r\n"),
        (&["TTL", "n"], ":100\r\n"),
        (&["EXPIRE", "n", "+5"], "-ERR value is not an integer or out of range\r\n"),
        (&["EXPIRE", "n", "soon"], "-ERR value is not an integer or out of range\r\n"),
        (&["EXPIRE", "n", "9223372036854775807"], ":1\r\n"),
        (&["EXPIRE", "n", "-1"], ":1\r\n"),
        (&["GET", "n"], "$-1\r\n"),
        (&["SET", "t", "x", "EX", "100"], "+OK\r\n"),
        (&["TTL", "t"], ":100\r\n"),
        (&["SET", "t", "x"], "+OK\r\n"),
        (&["TTL", "t"], ":-1\r\n"),
        (&["SET", "t", "x", "EX", "0"], "-ERR invalid expire time in 'set' command\r\n"),
        (&["SET", "t", "x", "EX"], "-ERR syntax error\r\n"),
        (&["SET", "t", "x", "XX", "1"], "-ERR syntax error\r\n"),
        (&["SET", "t", "short", "PX", "20"], "+OK\r\n"),
        (&["GET"], "-ERR wrong number of arguments for 'get' command\r\n"),
        (&["FLY", "away"], "-ERR unknown command 'FLY'\r\n"),
    ] {
        exchange(&mut stream, &command(words), expected);
    }
    std::thread::sleep(Duration::from_millis(50));
    exchange(&mut stream, &command(&["GET", "t"]), "$-1\r\n");
    exchange(&mut stream, &command(&["INCR", "t"]), ":1\r\n");

    // Another connection sees the same data. It uses inline commands, as people type them.
    let mut other = server.connect();
    exchange(&mut other, "GET t\r\n", "$1\r\n1\r\n");
    exchange(&mut other, "\r\n  set   t\tx \n", "+OK\r\n");
    exchange(&mut stream, &command(&["GET", "t"]), "$1\r\nx\r\n");
    exchange(&mut other, "FLUSHALL\r\n", "+OK\r\n");
    exchange(&mut stream, "DBSIZE\r\n", ":0\r\n");
    assert_eq!(server.talk(b"QUIT\r\nPING\r\n"), "+OK\r\n");
}

#[test]
fn redis_answers_pipelined_and_fragmented_commands() {
    const COUNT: usize = 10_000;
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    let mut writing = stream.try_clone().expect("a clone");
    std::thread::scope(|s| {
        s.spawn(|| writing.write_all(command(&["INCR", "n"]).repeat(COUNT).as_bytes()).expect("written"));
        let expected: String = (1..=COUNT).map(|n| format!(":{n}\r\n")).collect();
        exchange(&mut stream, "", &expected);
    });
    for byte in command(&["SET", "k", "a\r\nb"]).bytes() {
        stream.write_all(&[byte]).expect("written");
    }
    exchange(&mut stream, &command(&["GET", "k"]), "+OK\r\n$4\r\na\r\nb\r\n");

    let large = "x".repeat(10 << 20);
    stream.write_all(command(&["SET", "large", &large]).as_bytes()).expect("written");
    exchange(&mut stream, &command(&["GET", "large"]), &format!("+OK\r\n${}\r\n{large}\r\n", large.len()));
}

#[test]
fn redis_refuses_malformed_and_too_large_commands() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let long = "x".repeat(100_000);
    for (input, error) in [
        ("*many\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\nPING\r\n", "expected '$'"),
        ("*1\r\n$-5\r\n", "invalid bulk length"),
        ("*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        ("*1\r\n$4\r\nPINGPONG\r\n", "expected the end of a bulk"),
        ("GET \"k\r\n", "unbalanced quotes in request"),
        ("GET 'k\r\n", "unbalanced quotes in request"),
        ("GET \"k\"x\r\n", "unbalanced quotes in request"),
        ("*1\r\n$67108865\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (&long, "too big inline request"),
        (&format!("*1\r\n{long}"), "too big bulk count string"),
    ] {
        let answer = strict_talk(&server, format!("PING\r\n{input}").as_bytes());
        assert_eq!(answer, format!("+PONG\r\n-ERR Protocol error: {error}\r\n"));
    }
    // A client may announce the maximum length, which takes no memory before the bytes arrive.
    let claims: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"*1048576\r\n$67108864\r\nx").expect("written");
            stream
        })
        .collect();
    exchange(&mut server.connect(), "PING\r\n", "+PONG\r\n");
    server.has_resident(64 << 10);
    drop(claims);
    exchange(&mut server.connect(), "PING\r\n", "+PONG\r\n");
}

/// The server accepts as an integer only what it prints for one.
#[test]
fn redis_counts_with_integers_only() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for text in ["+5", "05", "-0", "-05", " 5", "5 ", "5.0", "", "0x5", "--5"] {
        exchange(&mut stream, &command(&["SET", "n", text]), "+OK\r\n");
        exchange(&mut stream, &command(&["INCR", "n"]), "-ERR value is not an integer or out of range\r\n");
        exchange(&mut stream, &command(&["GET", "n"]), &format!("${}\r\n{text}\r\n", text.len()));
    }
    exchange(&mut stream, &command(&["SET", "n", "-1"]), "+OK\r\n");
    exchange(&mut stream, &command(&["INCR", "n"]), ":0\r\n");
}

#[test]
fn redis_splits_inline_commands_as_a_shell_does() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for (word, value) in [
        (r#""a b""#, "a b"),
        (r#""""#, ""),
        (r#"'a "b"'"#, "a \"b\""),
        (r#"'it\'s'"#, "it's"),
        (r#"'a\nb'"#, r"a\nb"),
        (r#""\"\\\n\r\t\x41\x4a\q\xzz""#, "\"\\\n\r\tAJqxzz"),
        (r#"ab"c d""#, "abc d"),
        ("*", "*"),
    ] {
        let answer = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
        exchange(&mut stream, &format!("SET 'k' {word} \r\n GET \"k\"\n"), &answer);
    }
    // An empty command, in each form.
    exchange(&mut stream, "\r\n \t\r\n*0\r\n*-1\r\nPING\r\n", "+PONG\r\n");
}

/// An answer is sent although the next command is incomplete.
#[test]
fn redis_answers_before_it_waits_for_the_rest_of_a_command() {
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    for (begun, rest) in [("PI", "NG\r\n"), ("*1", "\r\n$4\r\nPING\r\n"), ("*1\r\n$4\r\nPI", "NG\r\n")] {
        exchange(&mut stream, &format!("PING\r\n{begun}"), "+PONG\r\n");
        exchange(&mut stream, rest, "+PONG\r\n");
    }
}

/// A few bytes ask for gigabytes, so the server makes the answers as they are read.
#[test]
fn redis_holds_no_answers_that_are_not_read() {
    const LENGTH: usize = 8 << 20;
    let Some(server) = Server::start("redis", &[]) else { return };
    let value = "x".repeat(LENGTH);
    let mut greedy = server.connect();
    exchange(&mut greedy, &command(&["SET", "k", &value]), "+OK\r\n");
    greedy.write_all(command(&["GET", "k"]).repeat(600).as_bytes()).expect("written");
    let answer = format!("${LENGTH}\r\n{value}\r\n");
    exchange(&mut greedy, "", &answer);
    // Others are served meanwhile, and the old value is sent although it has been replaced.
    exchange(&mut server.connect(), &command(&["SET", "k", "short"]), "+OK\r\n");
    server.has_resident(64 << 10);
    exchange(&mut greedy, "", &answer[..LENGTH / 2]);
}

/// The parser reads each byte once, in however many pieces the command comes.
#[test]
fn redis_reads_long_commands_in_linear_time() {
    const KEYS: usize = 1_000_000;
    let Some(server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    let keys = "$1\r\nk\r\n".repeat(KEYS);
    let exists = format!("*{}\r\n$6\r\nEXISTS\r\n{keys}", KEYS + 1);
    exchange(&mut stream, &exists, ":0\r\n");
    exchange(&mut stream, &command(&["SET", "k", "v"]), "+OK\r\n");
    exchange(&mut stream, &exists, &format!(":{KEYS}\r\n"));
}

#[test]
fn redis_has_a_limit_of_memory() {
    const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let Some(server) = Server::start("redis", &["--memory", "16"]) else { return };
    let large = "x".repeat(5 << 20);
    let mut stream = server.connect();
    for (key, answer) in [("a", "+OK\r\n"), ("b", "+OK\r\n"), ("c", "+OK\r\n"), ("d", OOM), ("e", OOM)] {
        exchange(&mut stream, &command(&["SET", key, &large]), answer);
    }
    // Incomplete commands count as well.
    exchange(&mut stream, &command(&["DEL", "a"]), ":1\r\n");
    let mut begun = None;
    let whole = command(&["SET", "f", &large]);
    let set = command(&["SET", "g", &large]);
    crate::programs::wait_for("the memory that is taken", || {
        // Anew each time: if the other command takes the memory first, this one gets none until its end.
        let begin = begun.insert(server.connect());
        begin.write_all(&whole.as_bytes()[..whole.len() - 3]).expect("written");
        std::thread::sleep(Duration::from_millis(20));
        let mut other = server.connect();
        other.write_all(set.as_bytes()).expect("written");
        let mut first = [0];
        other.read_exact(&mut first).expect("read");
        let refused = first == *b"-";
        if !refused {
            exchange(&mut other, "", "OK\r\n");
            exchange(&mut other, &command(&["DEL", "g"]), ":1\r\n");
        }
        refused
    });
    drop(begun);
    // Too much at once, in many small parts.
    let many = format!("*1048576\r\n{}", "$0\r\n\r\n".repeat(1_048_576));
    exchange(&mut stream, &many, OOM);
    exchange(&mut stream, &command(&["DEL", "b", "c"]), ":2\r\n");
    exchange(&mut stream, &command(&["SET", "d", &large]), "+OK\r\n");
    server.has_resident(64 << 10);
}

#[test]
fn redis_ends_on_ctrl_c() {
    let Some(mut server) = Server::start("redis", &[]) else { return };
    let mut stream = server.connect();
    exchange(&mut stream, "PING\r\n", "+PONG\r\n");
    server.interrupt();
    assert!(server.child.wait().expect("an end").success());
    assert_eq!(stream.read(&mut [0]).expect("read"), 0);
}
