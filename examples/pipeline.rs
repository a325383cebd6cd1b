//! A word count as a pipeline:
//! `cargo run --release --example pipeline -- FILE... [--readers N] [--counters N]`.
//!
//! ```text
//!   files --> readers (so many files open at a time) --> chunks --> counters --> counts --> the sum
//! ```
//!
//! Every arrow is a bounded channel, so a slow stage holds up the stages before it. Ctrl-C ends it early: it
//! prints what was counted by then, and fails.
//!
//! Limits: as many open files as `--readers`; a word of more than 64 KiB is counted as several.

mod common;

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::Duration;
use sward::channel::{Receiver, Sender, bounded};
use sward::signal::{SignalKind, signal};
use sward::sync::Semaphore;
use sward::task::CancelToken;

/// Text of one file, cut between two words.
type Chunk = Vec<u8>;
type Counts = HashMap<String, u64>;

const CHUNK: u64 = 64 << 10;

fn main() {
    let mut arguments = common::Arguments::new("pipeline FILE... [--readers N] [--counters N]");
    let readers = arguments.number("--readers", 4) as usize;
    let counters = arguments.number("--counters", 2) as usize;
    let files: Vec<String> = std::iter::from_fn(|| arguments.word()).collect();
    arguments.end();
    if files.is_empty() || readers == 0 || counters == 0 {
        arguments.refuse("it wants a file, a reader and a counter at least");
    }
    let stop = CancelToken::new();
    let (counts, failed) = sward::run(|| {
        let interrupt = signal(SignalKind::INTERRUPT).expect("a thread for signals");
        sward::scope(|s| {
            let watch = s.spawn(|| {
                interrupt.recv();
                stop.cancel();
            });
            let result = count_words(&files, readers, counters, &stop);
            watch.cancel();
            result
        })
    });
    print(counts);
    if failed > 0 {
        common::fail(&format!("incomplete: {failed} files could not be read"));
    }
    if stop.is_cancelled() {
        common::fail("incomplete: interrupted");
    }
}

/// Runs the stages. Returns the sum, and how many files could not be read.
fn count_words(files: &[String], readers: usize, counters: usize, stop: &CancelToken) -> (Counts, usize) {
    let (chunks, incoming) = bounded(16);
    let (counted, results) = bounded(counters);
    let open = Semaphore::new(readers);
    sward::scope(|s| {
        let reading = s.spawn(|| read_all(files, &open, chunks, stop));
        for _ in 0..counters {
            let (incoming, counted) = (incoming.clone(), counted.clone());
            s.spawn(move || counted.send(count(&incoming)));
        }
        // The counters end after the readers, and the sum ends after the counters.
        drop((incoming, counted));
        let counts = sum(&results);
        (counts, reading.join().expect("the reader does not panic"))
    })
}

/// Starts a coroutine for each file; the semaphore bounds how many read at a time. Returns how many have
/// failed.
fn read_all(files: &[String], open: &Semaphore, chunks: Sender<Chunk>, stop: &CancelToken) -> usize {
    sward::scope(|s| {
        let reads: Vec<_> = files
            .iter()
            .map(|file| {
                let chunks = chunks.clone();
                s.spawn(move || {
                    let _permit = open.acquire().expect("nobody closes it");
                    read(file, &chunks, stop).inspect_err(|e| eprintln!("{file}: {e}"))
                })
            })
            .collect();
        reads.into_iter().map(|read| read.join()).filter(|read| !matches!(read, Ok(Ok(())))).count()
    })
}

/// Sends a file's text on, until its end or until `stop`.
fn read(file: &str, chunks: &Sender<Chunk>, stop: &CancelToken) -> io::Result<()> {
    let mut file = sward::fs::File::open(file)?;
    let mut chunk = Chunk::new();
    while file.by_ref().take(CHUNK).read_to_end(&mut chunk)? > 0 {
        // The text behind the last blank may go on in the next chunk. A word as long as a chunk is cut, as
        // otherwise a file without blanks would be held as a whole.
        let end = chunk.iter().rposition(u8::is_ascii_whitespace).map_or(chunk.len(), |at| at + 1);
        let rest = chunk.split_off(end);
        sward::select! {
            send(chunks, chunk) -> sent => sent.map_err(io::Error::other)?,
            cancelled(stop) => return Ok(()),
        }
        chunk = rest;
    }
    chunks.send(chunk).map_err(io::Error::other)
}

/// Counts the words of the chunks that it gets.
fn count(incoming: &Receiver<Chunk>) -> Counts {
    let mut counts = Counts::new();
    for chunk in incoming {
        for word in String::from_utf8_lossy(&chunk).split(|c: char| !c.is_alphanumeric()) {
            if !word.is_empty() {
                *counts.entry(word.to_lowercase()).or_default() += 1;
            }
        }
    }
    counts
}

/// Adds up the counters' results, and prints every second that it is still waiting.
fn sum(results: &Receiver<Counts>) -> Counts {
    let mut total = Counts::new();
    loop {
        sward::select! {
            recv(results) -> counts => match counts {
                Ok(counts) => counts.into_iter().for_each(|(word, n)| *total.entry(word).or_default() += n),
                Err(_) => return total,
            },
            default(Duration::from_secs(1)) => eprintln!("still counting"),
        }
    }
}

fn print(counts: Counts) {
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (word, count) in words.iter().take(20) {
        println!("{count:>8} {word}");
    }
    println!("{:>8} words, {} different ones", words.iter().map(|(_, n)| n).sum::<u64>(), words.len());
}
