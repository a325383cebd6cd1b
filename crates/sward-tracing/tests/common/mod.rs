//! A layer that says in which span each event lands, and programs that enter spans over waits.

use std::sync::Mutex;
use std::time::Duration;
use sward::runtime::{Builder, Homes};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// For each event its number, and the numbers of the spans that it is in, from the outermost.
pub(crate) static LANDED: Mutex<Vec<(u64, Vec<u64>)>> = Mutex::new(Vec::new());

/// Keeps the field `n` of spans and events.
pub(crate) struct Landing;

struct Number(u64);

#[derive(Default)]
struct Find(u64);

impl Visit for Find {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "n" {
            self.0 = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Landing {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut find = Find::default();
        attributes.record(&mut find);
        context.span(id).expect("it is new").extensions_mut().insert(Number(find.0));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut find = Find::default();
        event.record(&mut find);
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let spans = scope.map(|span| span.extensions().get::<Number>().expect("each has one").0);
        LANDED.lock().expect("no panic").push((find.0, spans.collect()));
    }
}

/// A runtime of each mode.
pub(crate) fn runtimes() -> Vec<sward::runtime::Runtime> {
    let two = || Builder::new().worker_threads(2);
    #[allow(unsafe_code)]
    // SAFETY: the coroutines of these tests hold nothing over a wait that is bound to a thread.
    let migrating = unsafe { two().migrate_started() };
    let all = [two().homes(Homes::Off), two().homes(Homes::Auto), migrating];
    all.map(|builder| builder.build().expect("a runtime")).into()
}

/// So many coroutines enter spans again and again, over waits of several kinds.
pub(crate) fn program(coroutines: u64, rounds: u64) {
    let all: Vec<_> = (1..=coroutines)
        .map(|n: u64| {
            sward::spawn(move || {
                for round in 0..rounds {
                    let outer = tracing::info_span!("outer", n).entered();
                    sward::yield_now();
                    tracing::info!(n);
                    tracing::info_span!("inner", n = n + 1000).in_scope(|| {
                        sward::sleep(Duration::from_micros(100 * (n % 7)));
                        tracing::info!(n = n + 1000);
                    });
                    if round % 5 == 0 {
                        sward::blocking(|| ()).expect("a thread");
                    }
                    tracing::info!(n);
                    drop(outer);
                    tracing::info!(n = n + 2000);
                }
            })
        })
        .collect();
    for child in all {
        child.join().expect("no panic");
    }
}

/// Takes the events that did not land where they belong, and the number of all.
pub(crate) fn take_astray() -> (Vec<(u64, Vec<u64>)>, usize) {
    let landed = std::mem::take(&mut *LANDED.lock().expect("no panic"));
    let count = landed.len();
    let belongs = |n: u64| match n {
        ..1000 => vec![n],
        1000..2000 => vec![n - 1000, n],
        _ => vec![],
    };
    (landed.into_iter().filter(|(n, spans)| *spans != belongs(*n)).collect(), count)
}
