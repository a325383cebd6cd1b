//! The workloads without sockets. Each has a file with two versions: for peers whose code blocks, and for
//! tokio. Each checks its own result, and panics if it is wrong.

mod channel;
mod crowd;
mod fairness;
mod fib;
mod locks;
mod parked;
mod pingpong;
mod skynet;
mod sleepers;
mod spawn;
mod timers;
mod unpark;
mod yielding;

use crate::peers::{Channels, Locks, Peer};
use crate::sys::Usage;
use std::time::{Duration, Instant};

/// How much a workload does.
#[derive(Clone, Copy)]
pub struct Size {
    /// Coroutines at once, or senders.
    pub tasks: u64,
    /// Receivers. For pairs: 1 if the two start on different workers.
    pub partners: u64,
    /// Operations in all.
    pub ops: u64,
}

/// The measurements of a run, per operation: nanoseconds and bytes.
pub struct Outcome(Vec<(&'static str, f64)>);

impl Outcome {
    fn with(mut self, name: &'static str, value: f64) -> Outcome {
        self.0.push((name, value));
        self
    }

    /// The line that a child prints for the driver.
    pub fn line(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" ")
    }
}

struct Meter {
    start: Instant,
    usage: Usage,
}

impl Meter {
    fn start() -> Meter {
        Meter { usage: Usage::now(), start: Instant::now() }
    }

    fn stop(self, ops: u64) -> Outcome {
        let wall = self.start.elapsed().as_nanos() as f64;
        let used = Usage::now().since(self.usage);
        let ops = ops as f64;
        Outcome(vec![
            ("wall", wall / ops),
            ("user", used.user / ops),
            ("kernel", used.kernel / ops),
            ("cpu", (used.user + used.kernel) / ops),
        ])
    }
}

/// A value that lives as long as the process, so that no peer counts references to it.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// How long a coroutine that wants a worker of its own waits for its partner to start on another.
const MEETING: Duration = Duration::from_millis(50);

/// Keeps the worker busy until both partners have started, so that they start on different workers.
fn meet(arrived: &std::sync::atomic::AtomicU64) {
    use std::sync::atomic::Ordering;
    arrived.fetch_add(1, Ordering::AcqRel);
    let start = Instant::now();
    while arrived.load(Ordering::Acquire) < 2 && start.elapsed() < MEETING {
        std::hint::spin_loop();
    }
}

/// Runs a tenth of the work first, uncounted: most workloads are not about the first use of memory.
fn warm(size: Size) -> Size {
    Size { ops: (size.ops / 10).max(1), ..size }
}

fn twice(size: Size, mut workload: impl FnMut(Size) -> Outcome) -> Outcome {
    workload(warm(size));
    workload(size)
}

/// Runs a workload of this name on a peer whose code blocks.
pub fn blocking<P: Channels + Locks>(name: &str, size: Size, workers: usize) -> Outcome {
    let workload = match name {
        "spawn" => spawn::blocking::<P>,
        "parked" => return P::run(workers, move || parked::blocking::<P>(size)),
        "heap" => return P::run(workers, move || parked::with_heap::<P>(size)),
        "yield" => yielding::blocking::<P>,
        "unpark" => unpark::blocking::<P>,
        "pingpong" => pingpong::blocking::<P>,
        "channel" => channel::blocking::<P>,
        "mutex" => locks::mutex::<P>,
        "rwlock" => locks::rwlock::<P>,
        "skynet" => skynet::blocking::<P>,
        "fib" => fib::blocking::<P>,
        "sleepers" => return P::run(workers, move || sleepers::blocking::<P>(size)),
        "start-beside" => return P::run(workers, move || fairness::start_beside::<P>(size)),
        "backlog" => return P::run(workers, move || fairness::backlog::<P>(size)),
        "beside-hog" => return P::run(workers, move || fairness::beside_hog::<P>(size)),
        "naps" => return P::run(workers, move || fairness::naps::<P>(size)),
        "timers" => timers::blocking::<P>,
        "token" => crowd::token,
        "datagrams" => crowd::datagrams,
        "accepts" => crowd::accepts,
        _ => panic!("no such workload: {name}"),
    };
    P::run(workers, move || twice(size, workload))
}

/// Runs a workload on tokio.
pub fn tokio(name: String, size: Size, workers: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    let main = async move {
        let first = warm(size);
        macro_rules! twice {
            ($workload:path) => {{
                $workload(first).await;
                $workload(size).await
            }};
        }
        match name.as_str() {
            "spawn" => twice!(spawn::tokio),
            "parked" => parked::tokio(size).await,
            "heap" => parked::tokio_with_heap(size).await,
            "yield" => twice!(yielding::tokio),
            "unpark" => twice!(unpark::tokio),
            "pingpong" => twice!(pingpong::tokio),
            "channel" => twice!(channel::tokio),
            "mutex" => twice!(locks::tokio_mutex),
            "rwlock" => twice!(locks::tokio_rwlock),
            "skynet" => twice!(skynet::tokio),
            "fib" => twice!(fib::tokio),
            "sleepers" => sleepers::tokio(size).await,
            "start-beside" => fairness::tokio_start_beside(size).await,
            "backlog" => fairness::tokio_backlog(size).await,
            "beside-hog" => fairness::tokio_beside_hog(size).await,
            "naps" => fairness::tokio_naps(size).await,
            "timers" => twice!(timers::tokio),
            _ => panic!("no such workload: {name}"),
        }
    };
    // Spawned, since `block_on` would run it on this thread, which is no worker.
    runtime.block_on(runtime.spawn(main)).expect("it ends well")
}
