//! Metrics for the recorder of the crate `metrics`.

use super::metrics::{Metrics, WorkerMetrics, metrics};
use super::prometheus::{Kind, WORKER};
use crate::base::clock;
use crate::base::histogram::Histogram;
use crate::coroutine::WaitReason;
use crate::sched::sleep_until;
use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::{Duration, Instant};

/// The most values that one report passes to a histogram. A recorder may keep each value.
const MOST_VALUES: u64 = 10_000;

/// Passes the [`Metrics`] of a runtime to the recorder of the crate `metrics`, under the names that
/// [`to_prometheus`](Metrics::to_prometheus) uses. Only `sward_parked_seconds_total` is the gauge
/// `sward_parked_seconds`, since the counters of that crate are whole numbers.
///
/// Install the recorder of your program first. Then either call [`report`](Self::report) before each export,
/// or spawn a coroutine that [reports every few seconds](Self::report_every).
///
/// A histogram gets the times that are new since the last report. Each time is reported as the middle of its
/// class, so it is known to a factor of two. If there are more than 10,000 new times, each class gets its
/// part of 10,000.
///
/// ```
/// use std::time::Duration;
/// use sward::runtime::MetricsReporter;
///
/// sward::run(|| {
///     let reports = sward::spawn(|| MetricsReporter::new().report_every(Duration::from_secs(10)));
///     // The program's own work.
///     reports.cancel();
/// });
/// ```
#[derive(Debug)]
pub struct MetricsReporter {
    run_delay: Histogram,
    poll_delay: Vec<Histogram>,
    /// As text, since labels are.
    workers: Vec<String>,
}

impl Default for MetricsReporter {
    fn default() -> Self {
        MetricsReporter::new()
    }
}

impl MetricsReporter {
    /// Describes the metrics to the recorder.
    pub fn new() -> MetricsReporter {
        for (name, kind, help, _) in WORKER {
            match kind {
                Kind::Counter => describe_counter!(name, help),
                Kind::Gauge | Kind::Histogram => describe_gauge!(name, help),
            }
        }
        for (name, help) in GAUGES {
            describe_gauge!(name, help);
        }
        for (name, help) in COUNTERS {
            describe_counter!(name, help);
        }
        for (name, help) in HISTOGRAMS {
            describe_histogram!(name, ::metrics::Unit::Seconds, help);
        }
        MetricsReporter { run_delay: Histogram::default(), poll_delay: Vec::new(), workers: Vec::new() }
    }

    /// Passes on what the runtime has done.
    pub fn report(&mut self, metrics: &Metrics) {
        self.workers.extend((self.workers.len()..metrics.workers.len()).map(|index| index.to_string()));
        self.poll_delay.resize(metrics.workers.len(), Histogram::default());
        for (index, worker) in metrics.workers.iter().enumerate() {
            self.report_worker(index, worker);
        }
        for (name, value) in [
            ("sward_workers", metrics.workers.len()),
            ("sward_injected", metrics.injected),
            ("sward_yielded", metrics.yielded),
            ("sward_blocking_threads", metrics.blocking_threads),
            ("sward_blocking_idle", metrics.blocking_idle),
            ("sward_blocking_queued", metrics.blocking_queued),
        ] {
            gauge!(name).set(value as f64);
        }
        if let Some(homes) = metrics.homes {
            gauge!("sward_homes").set(homes.made as f64);
            gauge!("sward_homes_vacant").set(homes.vacant as f64);
            gauge!("sward_homes_limit").set(homes.limit as f64);
        }
        let stacks = &metrics.stacks;
        gauge!("sward_stacks", "state" => "in_use").set(stacks.in_use as f64);
        gauge!("sward_stacks", "state" => "cached").set(stacks.cached as f64);
        gauge!("sward_stack_bytes", "state" => "in_use").set(stacks.in_use_bytes as f64);
        gauge!("sward_stack_bytes", "state" => "cached").set(stacks.cached_bytes as f64);
        counter!("sward_no_stack_total").absolute(metrics.no_stack);
        gauge!("sward_connections", "state" => "idle").set(metrics.activations.idle as f64);
        gauge!("sward_connections", "state" => "active").set(metrics.activations.active as f64);
        counter!("sward_activations_total").absolute(metrics.activations.runs);
        counter!("sward_deadlocks_total").absolute(metrics.deadlocks as u64);
        counter!("sward_lost_panics_total").absolute(metrics.lost_panics);
        for park in &metrics.parks {
            counter!("sward_parks_total", "call" => park.call).absolute(park.count);
            // The counters of the crate are whole numbers.
            gauge!("sward_parked_seconds", "call" => park.call).set(park.time.as_secs_f64());
        }
        let recorder = histogram!("sward_run_delay_seconds");
        pass_on(&recorder, &metrics.run_delay, &mut self.run_delay);
    }

    fn report_worker(&mut self, index: usize, worker: &WorkerMetrics) {
        let label = &self.workers[index];
        for (name, kind, _, value) in WORKER {
            match kind {
                Kind::Counter => counter!(name, "worker" => label.clone()).absolute(value(worker)),
                Kind::Gauge | Kind::Histogram => {
                    gauge!(name, "worker" => label.clone()).set(value(worker) as f64);
                }
            }
        }
        let recorder = histogram!("sward_poll_delay_seconds", "worker" => label.clone());
        pass_on(&recorder, &worker.poll_delay, &mut self.poll_delay[index]);
    }

    /// Reports the metrics of the runtime that the caller runs in, now and after each interval, until the
    /// coroutine is cancelled. Parks.
    ///
    /// # Panics
    ///
    /// On a plain thread.
    pub fn report_every(mut self, interval: Duration) -> ! {
        loop {
            self.report(&metrics().expect("a coroutine reports the metrics of its runtime"));
            sleep_until(clock::now() + interval, WaitReason::Interval);
        }
    }
}

/// Passes on what is new since the last time.
fn pass_on(recorder: &::metrics::Histogram, now: &Histogram, last: &mut Histogram) {
    let new = now.count().saturating_sub(last.count());
    for ((below, count), (_, before)) in now.classes().zip(last.classes()) {
        let count = count.saturating_sub(before);
        let count = if new > MOST_VALUES { (count * MOST_VALUES).div_ceil(new) } else { count };
        if count > 0 {
            recorder.record_many(below.as_secs_f64() * 0.75, count as usize);
        }
    }
    *last = *now;
}

const GAUGES: [(&str, &str); 12] = [
    ("sward_workers", "Worker threads."),
    ("sward_injected", "Items that wait for any worker."),
    ("sward_yielded", "Items that wait for any worker after they have yielded."),
    ("sward_blocking_threads", "Threads of the pool for blocking calls."),
    ("sward_blocking_idle", "Threads of that pool that have nothing to do."),
    ("sward_blocking_queued", "Calls that wait for a thread of that pool."),
    ("sward_homes", "Mobile homes that exist."),
    ("sward_homes_vacant", "Mobile homes without coroutines."),
    ("sward_homes_limit", "Mobile homes that may exist."),
    ("sward_stacks", "Stacks of the process."),
    ("sward_stack_bytes", "Address space of these stacks, in bytes."),
    ("sward_parked_seconds", "Time that waits of coroutines have lasted, by kind."),
];

const COUNTERS: [(&str, &str); 3] = [
    ("sward_no_stack_total", "Coroutines that got no stack, and so never ran."),
    ("sward_deadlocks_total", "Deadlocks that the process has reported."),
    ("sward_parks_total", "Waits of coroutines that have ended, by kind."),
];

const HISTOGRAMS: [(&str, &str); 2] = [
    ("sward_poll_delay_seconds", "Time between two polls of a worker that is awake."),
    ("sward_run_delay_seconds", "Time that runnable coroutines waited for their turns."),
];

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    /// Keeps the last value of each metric, and the sum and number of the values of histograms.
    #[derive(Default, Clone)]
    struct Kept(Arc<Mutex<BTreeMap<String, (f64, usize)>>>, Arc<Mutex<Vec<String>>>);

    struct One(Kept, String);

    impl One {
        fn set(&self, value: f64, more: usize) {
            let mut all = self.0.0.lock().expect("no panic");
            let entry = all.entry(self.1.clone()).or_default();
            *entry = (value, entry.1 + more);
        }
    }

    impl CounterFn for One {
        fn increment(&self, _: u64) {
            unreachable!("counters are absolute");
        }
        fn absolute(&self, value: u64) {
            self.set(value as f64, 0);
        }
    }

    impl GaugeFn for One {
        fn increment(&self, _: f64) {
            unreachable!("gauges are set");
        }
        fn decrement(&self, _: f64) {
            unreachable!("gauges are set");
        }
        fn set(&self, value: f64) {
            One::set(self, value, 0);
        }
    }

    impl HistogramFn for One {
        fn record(&self, value: f64) {
            self.set(value, 1);
        }
    }

    impl Kept {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            Arc::new(One(self.clone(), format!("{}{labels:?}", key.name())))
        }

        fn describe(&self, name: &KeyName) {
            self.1.lock().expect("no panic").push(name.as_str().to_owned());
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.describe(&name);
        }
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Histogram {
            ::metrics::Histogram::from_arc(self.one(key))
        }
    }

    #[test]
    fn the_recorder_gets_what_is_new() {
        let kept = Kept::default();
        ::metrics::with_local_recorder(&kept, || {
            let mut reporter = MetricsReporter::new();
            let delays = crate::base::histogram::SharedHistogram::new();
            let worker = |turns, poll_delay| WorkerMetrics { turns, poll_delay, ..WorkerMetrics::default() };
            delays.add(1_000);
            delays.add(1_000_000);
            let first = Metrics { workers: vec![worker(5, delays.read())], ..Metrics::default() };
            reporter.report(&first);
            delays.add(1_000);
            let second = Metrics { workers: vec![worker(7, delays.read())], ..Metrics::default() };
            reporter.report(&second);
            (0..1_000_000).for_each(|_| delays.add(100));
            reporter.report(&Metrics { workers: vec![worker(8, delays.read())], ..Metrics::default() });
        });
        let all = kept.0.lock().expect("no panic");
        assert_eq!(all[r#"sward_worker_turns_total["worker=0"]"#].0, 8.0);
        assert_eq!(all[r#"sward_workers[]"#].0, 1.0);
        let delays = all[r#"sward_poll_delay_seconds["worker=0"]"#];
        assert_eq!(delays, (128e-9 * 0.75, 3 + MOST_VALUES as usize));
        let described = kept.1.lock().expect("no panic");
        for name in all.keys().map(|key| key.split('[').next().expect("a name")) {
            assert!(described.iter().any(|known| known == name), "{name} is not described");
        }
    }

    #[test]
    fn a_coroutine_reports_until_it_is_cancelled() {
        crate::sched::testing::on_one_worker(|| {
            let reports = crate::spawn(|| MetricsReporter::new().report_every(Duration::from_millis(1)));
            crate::sleep(Duration::from_millis(5));
            reports.cancel();
            assert!(matches!(reports.join(), Err(crate::task::JoinError::Cancelled)));
        });
    }
}
