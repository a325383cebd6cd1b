//! What the dashboard answers.
//!
//! A thread of its own makes an answer: it takes processor time, and the worker's other connections go on.

use super::http::{Body, Request, Response, Status};
use crate::base::counted_threads::CountedThread;
use crate::base::new_thread::new_thread;
use crate::channel::bounded;
use crate::inspect::{deadlocks, dump, leaks, record_at_most, recorded_at_most, sites};
use crate::runtime::{Metrics, metrics_of_all};
use crate::sync::{Mutex, Semaphore};
use crate::time::timeout;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The name of the server's threads.
pub(super) const NAME: &str = "sward-observe";

/// The page. The style and the script are part of it, so that it can be saved and opened as one file.
const PAGE: &str = concat!(
    include_str!("../page/head.html"),
    "<style nonce=\"@NONCE@\">\n",
    include_str!("../page/page.css"),
    "</style>\n",
    include_str!("../page/body.html"),
    "<script nonce=\"@NONCE@\">\n",
    include_str!("../page/page.js"),
    "</script>\n</body>\n</html>\n",
);
/// What stands in the page for a random text, which lets the browser tell the page's own script from others.
const NONCE: &str = "@NONCE@";

/// How many groups and spawn sites a summary lists.
const MOST: usize = 100;
/// How old a summary may be.
const FRESH: Duration = Duration::from_millis(500);
/// How many large answers there may be at a time, and how long a request waits for its turn.
const LARGE: usize = 2;
const TURN: Duration = Duration::from_secs(10);

/// The longest trace, in seconds, and how many events it has at most: some hundred megabytes while it is
/// made.
const LONGEST: f64 = 60.0;
const MOST_EVENTS: usize = 300_000;

const PATHS: &str = "sward: there is no such page. There are:\n\
                     /  /dump  /dump?full=1  /dump.json  /summary.json  /deadlocks.json  /leaks  /sites  /sites.json\n\
                     /metrics  /metrics?runtime=NAME  /trace?seconds=5  /trace?last=10  /healthz\n";

/// What the answers of one server share.
pub(super) struct Routes {
    /// The newest summary.
    summary: Mutex<Option<(Instant, Arc<str>)>>,
    /// For large answers.
    large: Arc<Semaphore>,
    /// For traces, so that they do not keep dumps waiting.
    trace: Arc<Semaphore>,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes {
            summary: Mutex::new(None),
            large: Arc::new(Semaphore::new(LARGE)),
            trace: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn answer(&self, request: &Request) -> Response {
        let answer = match request.path.as_str() {
            "/" | "/index.html" => Ok(page()),
            "/healthz" => Ok(Response::ok(Response::TEXT, "ok\n")),
            "/summary.json" => self.summary(),
            "/deadlocks.json" => self.large(Response::JSON, deadlocks_json),
            "/leaks" => self.large(Response::TEXT, || leaks().to_string()),
            "/sites" => on_thread(|| sites().to_string()).map(|text| Response::ok(Response::TEXT, text)),
            "/sites.json" => on_thread(|| sites().to_json()).map(|text| Response::ok(Response::JSON, text)),
            "/metrics" => self.metrics(request.parameter("runtime")),
            "/trace" => self.trace(request),
            "/dump.json" => self.large(Response::JSON, || dump().to_json()),
            "/dump" if request.parameter("full").is_some_and(|value| value != "0") => {
                self.large(Response::TEXT, || format!("{:#}", dump()))
            }
            "/dump" => self.large(Response::TEXT, || dump().to_string()),
            _ => Ok(Response::refusal(Status::NotFound, PATHS)),
        };
        answer.unwrap_or_else(|error| Response::refusal(Status::Failed, format!("sward: {error}\n")))
    }

    /// Clients that ask at the same time share one summary.
    fn summary(&self) -> io::Result<Response> {
        let mut newest = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = newest.as_ref().filter(|(made, _)| made.elapsed() < FRESH);
        let text = match fresh {
            Some((_, text)) => Arc::clone(text),
            None => {
                let text: Arc<str> = on_thread(|| dump().to_summary_json(MOST))?.into();
                *newest = Some((Instant::now(), Arc::clone(&text)));
                text
            }
        };
        Ok(Response { body: Body::Shared(text), ..Response::ok(Response::JSON, "") })
    }

    /// What happens from now on for that many seconds, or has happened in the last ones.
    fn trace(&self, request: &Request) -> io::Result<Response> {
        let seconds = |name| {
            let value = request.parameter(name)?.parse::<f64>().ok();
            Some(value.filter(|value| (0.0..=LONGEST).contains(value)).map(Duration::from_secs_f64))
        };
        match (seconds("last"), seconds("seconds")) {
            (Some(Some(last)), None) => {
                limited(&self.trace, Response::JSON, move || recorded_at_most(last, MOST_EVENTS).to_json())
            }
            (None, Some(Some(time))) => {
                limited(&self.trace, Response::JSON, move || record_at_most(time, MOST_EVENTS).to_json())
            }
            _ => {
                let text = format!("/trace?seconds=5 or /trace?last=10, up to {LONGEST} seconds\n");
                Ok(Response::refusal(Status::BadRequest, text))
            }
        }
    }

    /// The metrics of the runtime of that name, or else of the one that has started first.
    fn metrics(&self, name: Option<&str>) -> io::Result<Response> {
        let wanted = |(runtime, _): &(String, Metrics)| name.is_none_or(|name| name == runtime);
        let mut found = metrics_of_all().into_iter().filter(wanted);
        Ok(match (found.next(), name) {
            (Some((_, metrics)), _) => Response::ok(Response::METRICS, metrics.to_prometheus()),
            // There may be none any more.
            (None, None) => Response::ok(Response::METRICS, ""),
            (None, Some(_)) => Response::refusal(Status::NotFound, "there is no such runtime\n"),
        })
    }

    /// An answer that may be large: it is made when few others are.
    fn large(
        &self,
        kind: &'static str,
        make: impl FnOnce() -> String + Send + 'static,
    ) -> io::Result<Response> {
        limited(&self.large, kind, make)
    }
}

/// An answer that is made when it gets a permit. The permit is kept until the answer is sent.
fn limited(
    permits: &Arc<Semaphore>,
    kind: &'static str,
    make: impl FnOnce() -> String + Send + 'static,
) -> io::Result<Response> {
    let Ok(Ok(permit)) = timeout(TURN, || permits.acquire_owned()) else {
        let response = Response::refusal(Status::Busy, "other clients read dumps and traces\n");
        return Ok(Response { fields: Cow::Borrowed("Retry-After: 5\r\n"), ..response });
    };
    let text = on_thread(make)?;
    Ok(Response { _permit: Some(permit), ..Response::ok(kind, text) })
}

/// The page, with a policy under which a browser runs and loads nothing else.
fn page() -> Response {
    let random = || RandomState::new().build_hasher().finish();
    let nonce = format!("{:016x}{:016x}", random(), random());
    let policy = format!(
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; \
         style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'\r\n"
    );
    let page = Response::ok("text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    Response { fields: Cow::Owned(policy), ..page }
}

fn deadlocks_json() -> String {
    let all: Vec<String> = deadlocks().iter().map(|deadlock| deadlock.to_json()).collect();
    format!("{{\"deadlocks\":[{}]}}", all.join(","))
}

/// Parks until a new thread has called the function.
fn on_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = bounded(1);
    new_thread(NAME)?.spawn(move || {
        // It runs no code of the program, and so wakes none of its coroutines.
        let _own = CountedThread::begin();
        // Nobody receives if the client is gone.
        let _ = done.send(f());
    })?;
    result.recv().map_err(|_| io::Error::other("the answer could not be made"))
}
