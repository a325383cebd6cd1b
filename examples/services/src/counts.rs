//! Counts of requests in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds.
const BUCKETS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000, 10_000_000];

/// The answers of a service: how many of each class of status, and how long they took.
#[derive(Default)]
pub struct Answers {
    /// Answers with a status of 1xx to 5xx.
    classes: [AtomicU64; 5],
    /// Answers at most as slow as the bucket; not cumulative.
    buckets: [AtomicU64; BUCKETS.len()],
    micros: AtomicU64,
}

impl Answers {
    /// Counts an answer.
    pub fn count(&self, status: u16, time: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The metrics `SERVICE_answers_total` and `SERVICE_answer_seconds`.
    pub fn write(&self, into: &mut String, service: &str) {
        let mut text = format!("# TYPE {service}_answers_total counter\n");
        let mut all = 0;
        for (class, count) in self.classes.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            all += count;
            let _ = writeln!(text, "{service}_answers_total{{status=\"{}xx\"}} {count}", class + 1);
        }
        let _ = writeln!(text, "# TYPE {service}_answer_seconds histogram");
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            let bound = *bound as f64 / 1e6;
            let _ = writeln!(text, "{service}_answer_seconds_bucket{{le=\"{bound}\"}} {below}");
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{service}_answer_seconds_bucket{{le=\"+Inf\"}} {all}");
        let _ = writeln!(text, "{service}_answer_seconds_sum {seconds}");
        let _ = writeln!(text, "{service}_answer_seconds_count {all}");
        into.push_str(&text);
    }
}

/// The metrics of sward's runtime: coroutines, turns of the workers, the netpoller.
pub fn runtime() -> String {
    sward::runtime::metrics().map(|metrics| metrics.to_prometheus()).unwrap_or_default()
}
