//! Metrics in the text format of Prometheus, version 0.0.4.

use super::metrics::{Metrics, WorkerMetrics};
use crate::base::histogram::Histogram;
use std::fmt::{Display, Write};
use std::time::Duration;

/// Histograms are written from this upper end of a class on: about a microsecond. Shorter times are in the
/// first bucket.
const SHORTEST: Duration = Duration::from_nanos(1 << 10);

impl Metrics {
    /// The metrics in the [text format] of Prometheus, version 0.0.4. Serve it as
    /// `text/plain; version=0.0.4`.
    ///
    /// All names begin with `sward_`. Times are in seconds. Counters end in `_total`. What one worker has
    /// done has the label `worker`. `sward_run_delay_seconds` and `sward_parks_total` are there once
    /// [accounting](crate::observe::set_accounting) was on. A program with several runtimes writes the
    /// metrics of one: the format does not allow a name twice.
    ///
    /// [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
    ///
    /// ```
    /// let runtime = sward::runtime::Builder::new().worker_threads(1).build()?;
    /// let text = runtime.metrics().to_prometheus();
    /// assert!(text.contains("# TYPE sward_worker_turns_total counter\n"));
    /// assert!(text.contains("\nsward_worker_turns_total{worker=\"0\"} "));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut text = Text(String::new());
        self.write(&mut text);
        text.0
    }

    fn write(&self, text: &mut Text) {
        self.write_workers(text);
        self.write_waits(text);
        self.write_queues(text);
        self.write_stacks(text);
        self.write_activations(text);
        self.write_process(text);
    }

    fn write_workers(&self, text: &mut Text) {
        text.one("sward_workers", Kind::Gauge, "Worker threads.", self.workers.len());
        for (name, kind, help, value) in WORKER {
            text.family(name, kind, help);
            for (index, worker) in self.workers.iter().enumerate() {
                text.sample(name, &[("worker", &index)], value(worker));
            }
        }
        let (name, help) = ("sward_poll_delay_seconds", "Time between two polls of a worker that is awake.");
        text.family(name, &Kind::Histogram, help);
        for (index, worker) in self.workers.iter().enumerate() {
            text.histogram(name, Some(("worker", &index)), &worker.poll_delay);
        }
    }

    fn write_waits(&self, text: &mut Text) {
        if self.run_delay.count() > 0 {
            let name = "sward_run_delay_seconds";
            text.family(name, &Kind::Histogram, "Time that runnable coroutines waited for their turns.");
            text.histogram(name, None, &self.run_delay);
        }
        if !self.parks.is_empty() {
            let name = "sward_parks_total";
            text.family(name, &Kind::Counter, "Waits of coroutines that have ended, by kind.");
            for park in &self.parks {
                text.sample(name, &[("call", &park.call)], park.count);
            }
            let name = "sward_parked_seconds_total";
            text.family(name, &Kind::Counter, "Time that these waits have lasted.");
            for park in &self.parks {
                text.sample(name, &[("call", &park.call)], park.time.as_secs_f64());
            }
        }
    }

    fn write_queues(&self, text: &mut Text) {
        if let Some(homes) = self.homes {
            text.one("sward_homes", Kind::Gauge, "Mobile homes that exist.", homes.made);
            text.one("sward_homes_vacant", Kind::Gauge, "Mobile homes without coroutines.", homes.vacant);
            text.one("sward_homes_limit", Kind::Gauge, "Mobile homes that may exist.", homes.limit);
        }
        let help = "Items that wait for any worker.";
        text.one("sward_injected", Kind::Gauge, help, self.injected);
        let help = "Items that wait for any worker after they have yielded.";
        text.one("sward_yielded", Kind::Gauge, help, self.yielded);
    }

    fn write_stacks(&self, text: &mut Text) {
        let stacks = &self.stacks;
        text.family("sward_stacks", &Kind::Gauge, "Stacks of the process.");
        text.sample("sward_stacks", &[("state", &"in_use")], stacks.in_use);
        text.sample("sward_stacks", &[("state", &"cached")], stacks.cached);
        text.family("sward_stack_bytes", &Kind::Gauge, "Address space of these stacks, in bytes.");
        text.sample("sward_stack_bytes", &[("state", &"in_use")], stacks.in_use_bytes);
        text.sample("sward_stack_bytes", &[("state", &"cached")], stacks.cached_bytes);
        let help = "Coroutines that got no stack, and so never ran.";
        text.one("sward_no_stack_total", Kind::Counter, help, self.no_stack);
    }

    fn write_activations(&self, text: &mut Text) {
        let activations = &self.activations;
        text.family("sward_connections", &Kind::Gauge, "Records of net::serve and task::on_ready.");
        text.sample("sward_connections", &[("state", &"idle")], activations.idle);
        text.sample("sward_connections", &[("state", &"active")], activations.active);
        let help = "Runs of the handlers of net::serve and task::on_ready.";
        text.one("sward_activations_total", Kind::Counter, help, activations.runs);
    }

    /// What belongs to no runtime.
    fn write_process(&self, text: &mut Text) {
        let help = "Panics of coroutines that nobody has joined.";
        text.one("sward_lost_panics_total", Kind::Counter, help, self.lost_panics);
        let help = "Deadlocks that the process has reported.";
        text.one("sward_deadlocks_total", Kind::Counter, help, self.deadlocks);
        let help = "Threads of the pool for blocking calls.";
        text.one("sward_blocking_threads", Kind::Gauge, help, self.blocking_threads);
        let help = "Threads of that pool that have nothing to do.";
        text.one("sward_blocking_idle", Kind::Gauge, help, self.blocking_idle);
        let help = "Calls that wait for a thread of that pool.";
        text.one("sward_blocking_queued", Kind::Gauge, help, self.blocking_queued);
    }
}

/// What kind of metric it is.
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type WorkerMetric = (&'static str, &'static Kind, &'static str, fn(&WorkerMetrics) -> u64);

/// The metrics of each worker: name, kind, help, value.
pub(super) const WORKER: [WorkerMetric; 15] = [
    ("sward_worker_live", &Kind::Gauge, "Coroutines that have started and not ended.", |w| w.live as u64),
    ("sward_worker_ready", &Kind::Gauge, "Coroutines that wait for their turns, up to 64.", |w| {
        w.ready as u64
    }),
    ("sward_worker_queued", &Kind::Gauge, "Items that other workers may take.", |w| w.queued as u64),
    ("sward_worker_assigned", &Kind::Gauge, "Unstarted coroutines assigned to it.", |w| w.assigned as u64),
    ("sward_worker_timers", &Kind::Gauge, "Timers that are set.", |w| w.timers as u64),
    ("sward_worker_descriptors", &Kind::Gauge, "Descriptors that it watches.", |w| w.descriptors as u64),
    ("sward_worker_turns_total", &Kind::Counter, "Runs of coroutines.", |w| w.turns),
    ("sward_worker_polls_total", &Kind::Counter, "Polls for events.", |w| w.polls),
    ("sward_worker_steals_total", &Kind::Counter, "Items taken from other workers.", |w| w.steals),
    ("sward_worker_helped_total", &Kind::Counter, "Polls of the netpoller thread in its place.", |w| {
        w.helped
    }),
    (
        "sward_worker_budget_yields_total",
        &Kind::Counter,
        "Yields forced by a used-up budget of calls.",
        |w| w.budget_yields,
    ),
    (
        "sward_worker_file_calls_in_place_total",
        &Kind::Counter,
        "Calls on files in place, since all they needed was cached.",
        |w| w.file_calls_in_place,
    ),
    ("sward_worker_file_calls_by_pool_total", &Kind::Counter, "Calls on files left to the pool.", |w| {
        w.file_calls_by_pool
    }),
    ("sward_worker_file_calls_by_ring_total", &Kind::Counter, "Calls on files by io_uring.", |w| {
        w.file_calls_by_ring
    }),
    ("sward_worker_stalls_total", &Kind::Counter, "Turns as long as the stall threshold.", |w| w.stalls),
];

struct Text(String);

impl Text {
    /// Begins a metric.
    fn family(&mut self, name: &str, kind: &Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", Escaped(help, false));
    }

    /// A metric of one sample.
    fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, &kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", Escaped(&text.to_string(), true));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Buckets are cumulative: each one also counts those of all before it.
    fn histogram(&mut self, name: &str, label: Option<(&str, &dyn Display)>, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let bucket = |text: &mut Text, end: &dyn Display, seen: u64| match label {
            Some(label) => text.sample(&bucket, &[label, ("le", end)], seen),
            None => text.sample(&bucket, &[("le", end)], seen),
        };
        let (mut seen, classes) = (0, histogram.classes().count());
        for (class, (below, count)) in histogram.classes().enumerate() {
            seen += count;
            // The last class has no end.
            if below >= SHORTEST && class + 1 < classes {
                bucket(self, &below.as_secs_f64(), seen);
            }
        }
        bucket(self, &"+Inf", seen);
        let labels = label.as_slice();
        self.sample(&format!("{name}_sum"), labels, histogram.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), labels, seen);
    }
}

/// Text as the format writes it; a label's value also escapes quotes.
struct Escaped<'a>(&'a str, bool);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_format_reserves_is_escaped() {
        let mut text = Text(String::new());
        text.family("a", &Kind::Gauge, "one \"two\" \\ \n three");
        text.sample("a", &[("l", &"x\"y\\z\n"), ("m", &1)], 2.5);
        assert_eq!(
            text.0,
            "# HELP a one \"two\" \\\\ \\n three\n# TYPE a gauge\na{l=\"x\\\"y\\\\z\\n\",m=\"1\"} 2.5\n"
        );
    }
}
