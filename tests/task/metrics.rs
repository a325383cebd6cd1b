//! What a runtime counts, and how it is written for Prometheus.

use crate::common::{LONG, in_child, one_worker, two_workers};
use std::collections::HashMap;
use std::io::Read;
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream};
use sward::runtime::{Builder, Metrics, Runtime};

/// Reads the metrics until they are as wanted.
fn until(runtime: &Runtime, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
    let began = Instant::now();
    loop {
        let metrics = runtime.metrics();
        if wanted(&metrics) {
            return metrics;
        }
        assert!(began.elapsed() < LONG, "{metrics:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn sum(metrics: &Metrics, of: impl Fn(&sward::runtime::WorkerMetrics) -> u64) -> u64 {
    metrics.workers.iter().map(of).sum()
}

#[test]
fn timers_and_descriptors_are_counted_while_they_are_there() {
    let runtime = two_workers();
    let (stop, stopped) = sward::channel::bounded::<()>(0);
    let waits = runtime.spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let reads = sward::spawn(move || client.read(&mut [0]).is_ok());
        let sleeps = sward::spawn(|| sward::sleep(Duration::from_secs(3600)));
        let _ = stopped.recv();
        drop(listener);
        sleeps.cancel();
        reads.join().map(drop)
    });
    // The reader's own socket, at least.
    until(&runtime, |metrics| sum(metrics, |w| w.timers as u64) == 1);
    until(&runtime, |metrics| sum(metrics, |w| w.descriptors as u64) >= 1);
    drop(stop);
    waits.join().expect("no panic").expect("no panic");
    until(&runtime, |metrics| {
        sum(metrics, |w| w.timers as u64) == 0 && sum(metrics, |w| w.descriptors as u64) == 0
    });
}

#[test]
fn polls_have_delays_and_budgets_force_yields() {
    let runtime = one_worker();
    let before = runtime.metrics();
    runtime.run(|| {
        let (sender, receiver) = sward::channel::unbounded::<u32>();
        for n in 0..1_000 {
            sender.send(n).expect("a receiver");
        }
        for _ in 0..1_000 {
            receiver.recv().expect("there is one");
        }
        let end = Instant::now() + Duration::from_millis(20);
        while Instant::now() < end {
            sward::yield_now();
        }
    });
    let after = runtime.metrics();
    assert!(sum(&after, |w| w.budget_yields) >= sum(&before, |w| w.budget_yields) + 10, "{after:?}");
    let polls = sum(&after, |w| w.polls);
    assert!(polls > 0 && sum(&after, |w| w.poll_delay.count()).abs_diff(polls) <= 1, "{after:?}");
}

/// Coroutines that migrate wait in queues of all workers: `Metrics::yielded`, `WorkerMetrics::queued`.
#[cfg(not(sward_migrate))]
#[test]
fn runnable_coroutines_are_counted_up_to_a_limit() {
    let runtime = one_worker();
    let metrics = runtime.run(|| {
        let stop = sward::task::CancelToken::new();
        let all: Vec<_> = (0..20)
            .map(|_| {
                let stop = stop.clone();
                sward::spawn(move || {
                    while !stop.is_cancelled() {
                        sward::yield_now();
                    }
                })
            })
            .collect();
        let began = Instant::now();
        let metrics = loop {
            sward::yield_now();
            let metrics = sward::runtime::metrics().expect("in a runtime");
            let homes = metrics.homes.is_some();
            if metrics.workers[0].ready >= if homes { 1 } else { 20 } || began.elapsed() > LONG {
                break metrics;
            }
        };
        stop.cancel();
        for one in all {
            one.join().expect("no panic");
        }
        metrics
    });
    let worker = &metrics.workers[0];
    assert!((1..=65).contains(&worker.ready), "{metrics:?}");
    until(&runtime, |metrics| metrics.workers[0].ready == 0);
}

#[test]
fn stacks_in_use_and_cached_are_counted() {
    in_child(|| {
        let runtime = Builder::new().worker_threads(1).stack_size(256 << 10).build().expect("a runtime");
        let sleepers: Vec<_> = (0..100).map(|_| runtime.spawn(sward::task::park)).collect();
        let full = until(&runtime, |metrics| metrics.stacks.in_use == 100).stacks;
        assert!((100 * (256 << 10)..100 * (300 << 10)).contains(&full.in_use_bytes), "{full:?}");
        for sleeper in &sleepers {
            sleeper.cancel();
        }
        let empty = until(&runtime, |metrics| metrics.stacks.in_use == 0).stacks;
        assert_eq!(empty.in_use_bytes, 0);
        assert!(empty.cached >= 100 && empty.cached_bytes >= full.in_use_bytes, "{empty:?}");
    });
}

#[test]
fn a_long_turn_is_one_stall() {
    let builder = Builder::new().worker_threads(1).stall_threshold(Duration::from_millis(30));
    let runtime = builder.build().expect("a runtime");
    runtime.run(|| std::thread::sleep(Duration::from_millis(200)));
    // With mobile homes spare workers have the next turns.
    let stalls = sum(&until(&runtime, |metrics| sum(metrics, |w| w.stalls) > 0), |w| w.stalls);
    assert_eq!(stalls, 1);
}

#[test]
fn run_delays_and_parks_need_accounting() {
    in_child(|| {
        let runtime = one_worker();
        runtime.run(|| sward::sleep(Duration::from_millis(1)));
        let metrics = runtime.metrics();
        assert!(metrics.run_delay.count() == 0 && metrics.parks.is_empty(), "{metrics:?}");
        sward::observe::set_accounting(true);
        runtime.run(|| sward::sleep(Duration::from_millis(5)));
        let metrics = runtime.metrics();
        assert!(metrics.run_delay.count() >= 2, "{metrics:?}");
        let park = metrics.parks.iter().find(|park| park.call == "sleep").expect("a sleep");
        assert!(park.count == 1 && park.time <= Duration::from_secs(10), "{metrics:?}");
        let text = check(&metrics.to_prometheus());
        assert_eq!(text[r#"sward_parks_total{call="sleep"}"#], 1.0);
        assert!(text["sward_run_delay_seconds_count"] >= 2.0);
    });
}

/// A sample: its name, its labels in order, its value.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(String, String)>,
    value: f64,
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Parses a line as the grammar of the format says, and nothing else.
fn parse(line: &str) -> Sample<'_> {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        c @ ('"' | '\\') => value.push(c),
                        c => panic!("no escape: {c}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let value = rest.strip_prefix(' ').expect("one space");
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect("a number") };
    Sample { name, labels, value }
}

/// Reads the text as a strict parser of the format does. Returns the samples by name and labels.
fn check(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let (mut found, mut families) = (HashMap::new(), HashMap::new());
    let (mut family, mut help) = (("", ""), "");
    // The last bucket of each histogram.
    let mut buckets: HashMap<String, (f64, f64)> = HashMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("a text");
            assert!(!text.is_empty());
            help = name;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split_once(' ').expect("a type");
            let (name, kind) = family;
            assert!(is_name(name) && help == name, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name, kind).is_none(), "{name} comes twice");
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let Sample { name, mut labels, value } = parse(line);
        assert!(value >= 0.0 && value.is_finite(), "{line}");
        if family.1 == "histogram" {
            let part = name.strip_prefix(family.0).expect("a part of the histogram");
            let key = |labels: &[(String, String)]| format!("{}{labels:?}", family.0);
            if part == "_bucket" {
                let (label, end) = labels.pop().expect("an end");
                let end = if end == "+Inf" { f64::INFINITY } else { end.parse().expect("a number") };
                let last = buckets.entry(key(&labels)).or_insert((0.0, 0.0));
                assert!(label == "le" && end > last.0 && value >= last.1, "{line}");
                *last = (end, value);
                continue;
            }
            assert!(part == "_sum" || part == "_count", "{line}");
            if part == "_count" {
                assert_eq!(buckets[&key(&labels)], (f64::INFINITY, value), "{line}");
            }
        } else {
            assert_eq!(name, family.0, "{line}");
        }
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        assert!(found.insert(format!("{name}{labels}"), value).is_none(), "{line} comes twice");
    }
    found
}

#[test]
fn the_text_for_prometheus_is_what_the_format_says() {
    let runtime = two_workers();
    runtime.run(|| {
        for _ in 0..100 {
            sward::yield_now();
        }
    });
    let metrics = runtime.metrics();
    let found = check(&metrics.to_prometheus());
    assert_eq!(found["sward_workers"], metrics.workers.len() as f64);
    for (index, worker) in metrics.workers.iter().enumerate() {
        let of = |name: &str| found[&format!("{name}{{worker=\"{index}\"}}")];
        assert_eq!(of("sward_worker_turns_total"), worker.turns as f64);
        assert_eq!(of("sward_poll_delay_seconds_count"), worker.poll_delay.count() as f64);
        let sum = worker.poll_delay.sum().as_secs_f64();
        assert!((of("sward_poll_delay_seconds_sum") - sum).abs() < 1e-9);
    }
    assert_eq!(found["sward_stacks{state=\"in_use\"}"], metrics.stacks.in_use as f64);
    assert_eq!(found.contains_key("sward_homes"), metrics.homes.is_some());
}
