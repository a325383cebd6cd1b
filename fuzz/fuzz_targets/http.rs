//! The HTTP parser of the examples: the bytes of a client, whole and in pieces, have the same answers.
#![no_main]
#![allow(dead_code)] // the examples have more than is fuzzed

#[path = "../../examples/common/mod.rs"]
mod common;

use common::http1::{self, Request, Response, Stream};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

struct Client {
    input: Vec<u8>,
    at: usize,
    piece: usize,
    output: Rc<RefCell<Vec<u8>>>,
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.input[self.at..];
        let read = left.len().min(buffer.len()).min(self.piece);
        buffer[..read].copy_from_slice(&left[..read]);
        self.at += read;
        Ok(read)
    }
}

impl Write for Client {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.output.borrow_mut().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Client {
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn close_gently(&mut self) {}
}

/// What the server answers, and what it understood.
fn answers(data: &[u8], piece: usize) -> (Vec<u8>, Vec<(String, String, Vec<u8>)>) {
    let output = Rc::new(RefCell::new(Vec::new()));
    let requests = RefCell::new(Vec::new());
    let client = Client { input: data.to_vec(), at: 0, piece, output: output.clone() };
    http1::serve(client, Duration::from_secs(3600), |request: Request| {
        requests.borrow_mut().push((request.method, request.path, request.body));
        Response::new("200 OK", &b"yes"[..])
    });
    (output.take(), requests.into_inner())
}

/// Without what may differ: the dates, and the invitation to send a body, which is left out if that has come.
fn without_varying(answer: &[u8]) -> String {
    let text = String::from_utf8(answer.to_vec()).expect("answers are text");
    let text = text.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect::<Vec<_>>().join("\n")
}

fuzz_target!(|data: &[u8]| {
    let (whole, requests) = answers(data, usize::MAX);
    assert!(whole.is_empty() || whole.starts_with(b"HTTP/1.1 "));
    for piece in [1, 7] {
        let (answer, same) = answers(data, piece);
        assert_eq!(requests, same, "pieces change what is understood");
        let (mut long, mut short) = (without_varying(&whole), without_varying(&answer));
        if long.len() < short.len() {
            std::mem::swap(&mut long, &mut short);
        }
        // A client that ends in the middle of a head may be told what was wrong with it, or not.
        let rest = long.strip_prefix(&short).expect("pieces change the answer").trim_start();
        let is_refusal = ["HTTP/1.1 4", "HTTP/1.1 5"].iter().any(|start| rest.starts_with(start));
        let answers = rest.matches("HTTP/1.1 ").count();
        assert!(rest.is_empty() || is_refusal && answers == 1, "pieces change the answer: {rest}");
    }
});
