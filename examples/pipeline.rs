//! A word count as a pipeline: `cargo run --release --example pipeline -- FILE... [--readers N] [--counters N]`.
//!
//! ```text
//!   files --> readers (at most N files open) --> lines --> counters --> counts --> the sum, with progress
//! ```
//!
//! Every arrow is a bounded channel, so a slow stage holds up the ones before it. Ctrl-C ends the pipeline
//! early; what was counted by then is printed.

mod common;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;
use sward::channel::{Receiver, Sender, after, bounded, tick};
use sward::sync::Semaphore;
use sward::task::CancelToken;

/// Lines that travel together.
type Chunk = Vec<String>;
type Counts = HashMap<String, u64>;

const CHUNK: usize = 256;

fn main() {
    let arguments =
        common::Arguments::parse("FILE... [--readers N] [--counters N]", &["--readers", "--counters"]);
    let readers = arguments.number("--readers", 4) as usize;
    let counters = arguments.number("--counters", 2) as usize;
    if arguments.rest.is_empty() || readers == 0 || counters == 0 {
        common::fail("usage: pipeline FILE... [--readers N] [--counters N], each at least one");
    }
    let stop = CancelToken::new();
    common::on_ctrl_c({
        let stop = stop.clone();
        move || stop.cancel()
    });
    let (counts, failed) = sward::run(|| count_words(&arguments.rest, readers, counters, &stop));
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (word, count) in words.iter().take(20) {
        println!("{count:>8} {word}");
    }
    println!("{:>8} different words", words.len());
    if failed > 0 || stop.is_cancelled() {
        common::fail(&format!("incomplete: {failed} files could not be read"));
    }
}

/// Runs the stages; gives the sum, and how many files could not be read.
fn count_words(files: &[String], readers: usize, counters: usize, stop: &CancelToken) -> (Counts, usize) {
    let (lines, incoming) = bounded(16);
    let (counted, results) = bounded(counters);
    let open = Semaphore::new(readers);
    sward::scope(|s| {
        let reading = s.spawn(|| read_all(files, &open, lines, stop));
        for _ in 0..counters {
            let (incoming, counted) = (incoming.clone(), counted.clone());
            s.spawn(move || counted.send(count(incoming)));
        }
        drop((incoming, counted));
        let sum = collect(&results, stop);
        (sum, reading.join().expect("the reader does not panic"))
    })
}

/// A coroutine per file, of which some are read at a time; how many could not be.
fn read_all(files: &[String], open: &Semaphore, lines: Sender<Chunk>, stop: &CancelToken) -> usize {
    sward::scope(|s| {
        let reads: Vec<_> = files
            .iter()
            .map(|file| {
                let lines = lines.clone();
                s.spawn(move || {
                    let _permit = open.acquire().expect("nobody closes it");
                    read(file, &lines, stop).inspect_err(|e| eprintln!("{file}: {e}"))
                })
            })
            .collect();
        reads.into_iter().filter(|read| !read.join().is_ok_and(|read| read.is_ok())).count()
    })
}
