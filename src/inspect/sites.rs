//! What the coroutines of each spawn site do and cost.

use super::collect::{alone, outside_of_workers};
use super::json::{Object, object, write_place};
use crate::base::histogram::Histogram;
use crate::coroutine::{Site, WaitReason};
use crate::sched::{self, Live, Shared, SiteFigures, State};
use crate::stack::{StackOverride, StackSize};
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::panic::Location;
use std::time::{Duration, Instant};

/// Grows when a field of the JSON changes its meaning or goes away. New fields do not count.
const VERSION: u32 = 1;
/// How many kinds of waits of a site the table names.
const NAMED: usize = 3;

/// What the coroutines of each spawn site do and cost: what [`sites`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sites {
    /// Whether accounting is on.
    pub accounting: bool,
    /// How long accounting has been on.
    pub accounted: Duration,
    /// One for each call that spawns coroutines. The one with the most processor time is first.
    pub sites: Vec<SpawnSite>,
    /// The processor time of the worker threads outside of all turns, while accounting was on: polls,
    /// searches for work, and turns that last still.
    pub outside_of_turns: Duration,
    /// The processor time of the netpoller threads, while accounting was on.
    pub netpoller: Duration,
}

/// What the coroutines do and cost that one call has spawned.
///
/// What is said of the present is always known. All other figures are of the time while accounting was on;
/// without accounting they are zero.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnSite {
    /// The call.
    pub spawned_at: &'static Location<'static>,
    /// Coroutines that have started and have not ended, at present.
    pub alive: usize,
    /// How many of these wait for something, at present.
    pub parked: usize,
    /// How many of these wait for their turn, at present.
    pub runnable: usize,
    /// How many have started.
    pub started: u64,
    /// How many have ended.
    pub ended: u64,
    /// How often they have run.
    pub turns: u64,
    /// The processor time of their turns. A turn that lasts still is not in it.
    pub processor_time: Duration,
    /// The longest turn, from its beginning to its end, whether it has computed or was blocked.
    pub longest_turn: Duration,
    /// How long they have waited for their turns after they were spawned, woken, or have yielded.
    pub run_delay: Histogram,
    /// Their waits by kind. The one with the most time is first.
    pub waits: Vec<SiteWait>,
    /// How much of their stacks they use.
    pub stack: StackUse,
}

/// The waits of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiteWait {
    /// The call that waits, such as `"Mutex::lock"`.
    pub call: &'static str,
    /// How many such waits have ended.
    pub ended: u64,
    /// How long these have lasted, together.
    pub time: Duration,
    /// How many coroutines wait so at present.
    pub present: usize,
    /// How long the longest present wait has lasted, to a few milliseconds.
    pub longest_present: Duration,
}

/// How much of their stacks coroutines use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackUse {
    /// The address space of the largest stack of a coroutine that is alive, in bytes. Zero if none is.
    pub size: usize,
    /// The most bytes that were in use when a coroutine has waited, yielded or ended. What it has used in
    /// between, in deeper calls, is not in it.
    pub suspended: usize,
    /// The deepest use of the stacks that were measured, in bytes, in whole pages. Zero if none was.
    pub deepest: usize,
    /// How many stacks were measured: those of the first four coroutines of the site on each worker, and
    /// every 64th after that; when they end, and now and then when they wait. Only on Linux, and not if the
    /// program has locked its memory. Pages that the system has swapped out meanwhile do not count.
    pub measured: u64,
    /// A size for [`task::Builder::stack_size`](crate::task::Builder::stack_size) that leaves half as much
    /// again as was ever seen in use. `None` if no stack was measured.
    pub suggested: Option<usize>,
}

/// Collects what the coroutines of each spawn site do at present, in all runtimes of the process; and what
/// they have cost while [accounting](set_accounting) was on. What a runtime has cost is forgotten with the
/// runtime.
///
/// Print it with `{}` for a table, or call [`to_json`](Sites::to_json).
///
/// It stops nobody: it reads the lists of coroutines in small steps. It takes about ten milliseconds for
/// 100,000 coroutines. Blocks the thread. In a coroutine it parks instead, and is a cancellation point.
///
/// # Panics
///
/// In a coroutine, if the system has no thread for this.
///
/// ```
/// use std::time::Duration;
///
/// let runtime = sward::runtime::Builder::new().accounting(true).build()?;
/// let sites = runtime.run(|| {
///     for _ in 0..3 {
///         sward::spawn(|| sward::sleep(Duration::from_millis(1))).join().unwrap();
///     }
///     sward::observe::sites()
/// });
/// println!("{sites}");
/// let of_sleepers = sites.sites.iter().find(|site| site.ended == 3).unwrap();
/// assert_eq!(of_sleepers.waits[0].call, "sleep");
/// assert!(of_sleepers.waits[0].time >= Duration::from_millis(3));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sites() -> Sites {
    outside_of_workers(collect)
}

/// Switches accounting on or off, for all runtimes of the process, at any time. Returns whether it was on.
///
/// While it is on, a turn of a coroutine costs about a tenth of a microsecond more, and a turn of more than
/// 50 µs half a microsecond. [`sites`] has the figures, and [`Metrics`](crate::runtime::Metrics) some sums of
/// them. They grow while it is on, and stay while it is off. It is also switched on by
/// [`Builder::accounting`](crate::runtime::Builder::accounting), and by the variable `SWARD_ACCOUNTING=1`.
pub fn set_accounting(on: bool) -> bool {
    sched::set_accounting(on)
}

impl SpawnSite {
    fn new(site: Site) -> SpawnSite {
        SpawnSite {
            spawned_at: site,
            alive: 0,
            parked: 0,
            runnable: 0,
            started: 0,
            ended: 0,
            turns: 0,
            processor_time: Duration::ZERO,
            longest_turn: Duration::ZERO,
            run_delay: Histogram::default(),
            waits: Vec::new(),
            stack: StackUse::default(),
        }
    }

    fn wait(&mut self, reason: WaitReason) -> &mut SiteWait {
        let call = reason.describe();
        let index = self.waits.iter().position(|wait| wait.call == call).unwrap_or_else(|| {
            let none = Duration::ZERO;
            self.waits.push(SiteWait { call, ended: 0, time: none, present: 0, longest_present: none });
            self.waits.len() - 1
        });
        &mut self.waits[index]
    }

    fn add_live(&mut self, live: &Live, now: Instant) {
        self.alive += 1;
        self.stack.size = self.stack.size.max(live.stack_size);
        match live.state {
            State::Runnable => self.runnable += 1,
            State::Running => {}
            State::Parked => {
                self.parked += 1;
                let wait = self.wait(live.reason);
                wait.present += 1;
                wait.longest_present = wait.longest_present.max(now.saturating_duration_since(live.since));
            }
        }
    }

    fn add_figures(&mut self, figures: &SiteFigures) {
        self.started += figures.started;
        self.ended += figures.ended;
        self.turns += figures.turns;
        self.processor_time += figures.used;
        self.longest_turn = self.longest_turn.max(figures.longest);
        self.run_delay.merge(&figures.delays);
        for &(reason, ended, time) in &figures.waits {
            let wait = self.wait(reason);
            wait.ended += ended;
            wait.time += time;
        }
        let stack = &mut self.stack;
        stack.suspended = stack.suspended.max(figures.suspended);
        stack.deepest = stack.deepest.max(figures.deepest);
        stack.measured += figures.measured;
    }

    fn finish(&mut self) {
        self.waits.sort_by_key(|wait| std::cmp::Reverse((wait.time, wait.present, wait.ended)));
        let stack = &mut self.stack;
        if stack.deepest > 0 {
            stack.suggested = suggest(stack.deepest.max(stack.suspended));
        }
    }
}

/// The smallest size of a stack of which that many bytes are two thirds at most.
fn suggest(used: usize) -> Option<usize> {
    let guard = StackSize::DEFAULT.bytes() - StackSize::DEFAULT.usable();
    let wish = StackOverride::new(Some(used + used / 2 + guard), None).ok()?;
    Some(StackSize::DEFAULT.with(wish).bytes())
}

#[derive(Default)]
struct Table {
    // By place: the compiler may make several constants for one place.
    by_place: HashMap<(&'static str, u32, u32), SpawnSite>,
    outside_of_turns: Duration,
    netpoller: Duration,
}

impl Table {
    fn site(&mut self, site: Site) -> &mut SpawnSite {
        let place = (site.file(), site.line(), site.column());
        self.by_place.entry(place).or_insert_with(|| SpawnSite::new(site))
    }

    fn add_runtime(&mut self, shared: &Shared) {
        let now = Instant::now();
        sched::for_each_live(shared, |live| self.site(live.site).add_live(&live, now));
        self.netpoller += shared.netpoller_time.read();
        for remote in shared.active_remotes() {
            for figures in remote.accounts.read() {
                self.site(figures.site).add_figures(&figures);
            }
            self.outside_of_turns += remote.accounts.outside_of_turns(remote.clock.get().copied());
        }
    }
}

fn collect() -> Sites {
    let _alone = alone();
    let mut table = Table::default();
    for shared in sched::runtimes() {
        table.add_runtime(&shared);
    }
    let (accounted, accounting) = sched::accounted();
    let mut sites: Vec<_> = table.by_place.into_values().collect();
    for site in &mut sites {
        site.finish();
    }
    let place = |site: &SpawnSite| (site.spawned_at.file(), site.spawned_at.line(), site.spawned_at.column());
    sites.sort_by(|a, b| {
        let key = |site: &SpawnSite| (site.processor_time, site.alive, site.started);
        key(b).cmp(&key(a)).then_with(|| place(a).cmp(&place(b)))
    });
    Sites {
        accounting,
        accounted,
        sites,
        outside_of_turns: table.outside_of_turns,
        netpoller: table.netpoller,
    }
}

// For people.

impl Display for Sites {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let on = if self.accounting { "on" } else { "off" };
        writeln!(f, "sward: spawn sites of process {}; accounting is {on}", std::process::id())?;
        if self.accounted.is_zero() {
            writeln!(f, "\n   alive  parked  runnable  spawned at")?;
            for site in &self.sites {
                let SpawnSite { alive, parked, runnable, spawned_at, .. } = site;
                writeln!(f, "{alive:>8} {parked:>7} {runnable:>9}  {spawned_at}")?;
                site.write_waits(f)?;
            }
            return Ok(());
        }
        let total: Duration = self.sites.iter().map(|site| site.processor_time).sum();
        writeln!(
            f,
            "it was on for {}; processor time: {} in coroutines, {} of the workers in between, {} of netpollers\n",
            short(self.accounted),
            short(total),
            short(self.outside_of_turns),
            short(self.netpoller)
        )?;
        writeln!(
            f,
            "processor  longest     turns  run delay           alive     ended    stack  suggested  spawned at"
        )?;
        writeln!(f, "     time     turn               50 %      99 %                          used")?;
        for site in &self.sites {
            let delay = |part| {
                site.run_delay.quantile(part).map_or("-".to_owned(), |delay| format!("<{}", short(delay)))
            };
            let stack = site.stack.deepest.max(site.stack.suspended);
            let suggested = site.stack.suggested.map_or("-".to_owned(), bytes);
            writeln!(
                f,
                "{:>9} {:>8} {:>9}  {:>8} {:>8} {:>8} {:>9} {:>8} {:>10}  {}",
                short(site.processor_time),
                short(site.longest_turn),
                site.turns,
                delay(0.5),
                delay(0.99),
                site.alive,
                site.ended,
                bytes(stack),
                suggested,
                site.spawned_at
            )?;
            site.write_waits(f)?;
        }
        Ok(())
    }
}

impl SpawnSite {
    fn write_waits(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for wait in self.waits.iter().take(NAMED) {
            write!(f, "            parked in {}: ", wait.call)?;
            if wait.ended > 0 {
                write!(f, "{} in {} waits", short(wait.time), wait.ended)?;
            }
            if wait.ended > 0 && wait.present > 0 {
                f.write_str("; ")?;
            }
            if wait.present > 0 {
                write!(f, "{} now, for up to {}", wait.present, short(wait.longest_present))?;
            }
            writeln!(f)?;
        }
        let more = self.waits.len().saturating_sub(NAMED);
        if more > 0 { writeln!(f, "            and {more} more kinds of waits") } else { Ok(()) }
    }
}

/// A time in at most seven characters.
fn short(time: Duration) -> String {
    match time.as_nanos() {
        0 => "0".to_owned(),
        nanos @ 1..1_000 => format!("{nanos}ns"),
        nanos @ 1_000..1_000_000 => format!("{:.1}µs", nanos as f64 / 1e3),
        nanos @ 1_000_000..1_000_000_000 => format!("{:.1}ms", nanos as f64 / 1e6),
        nanos => format!("{:.1}s", nanos as f64 / 1e9),
    }
}

fn bytes(bytes: usize) -> String {
    match bytes {
        0 => "-".to_owned(),
        1..1_048_576 => format!("{:.1}K", bytes as f64 / 1024.0),
        _ => format!("{:.1}M", bytes as f64 / 1_048_576.0),
    }
}

// For programs.

impl Sites {
    /// The figures as JSON, on one line. The schema is that of [`observe`](crate::observe#spawn-sites).
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        object(&mut text, |object| {
            object.value("version", VERSION);
            object.value("process", std::process::id());
            object.value("accounting", self.accounting);
            object.milliseconds("accounted_ms", self.accounted);
            object.milliseconds("outside_of_turns_ms", self.outside_of_turns);
            object.milliseconds("netpoller_ms", self.netpoller);
            object.array("sites", &self.sites, write_site);
        });
        text
    }
}

fn write_site(object: &mut Object<'_>, site: &SpawnSite) {
    object.object("spawned_at", |object| write_place(object, site.spawned_at));
    object.value("alive", site.alive);
    object.value("parked", site.parked);
    object.value("runnable", site.runnable);
    object.value("started", site.started);
    object.value("ended", site.ended);
    object.value("turns", site.turns);
    object.milliseconds("processor_time_ms", site.processor_time);
    object.milliseconds("longest_turn_ms", site.longest_turn);
    object.object("run_delay", |object| {
        object.value("count", site.run_delay.count());
        object.milliseconds("sum_ms", site.run_delay.sum());
        let classes: Vec<_> = site.run_delay.classes().filter(|(_, count)| *count > 0).collect();
        object.array("classes", &classes, |object, (below, count)| {
            object.value("below_ns", below.as_nanos());
            object.value("count", count);
        });
    });
    object.array("waits", &site.waits, |object, wait| {
        object.string("call", wait.call);
        object.value("ended", wait.ended);
        object.milliseconds("time_ms", wait.time);
        object.value("present", wait.present);
        object.milliseconds("longest_present_ms", wait.longest_present);
    });
    object.object("stack", |object| {
        object.value("size", site.stack.size);
        object.value("suspended", site.stack.suspended);
        object.value("deepest", site.stack.deepest);
        object.value("measured", site.stack.measured);
        object.optional("suggested", site.stack.suggested);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_leaves_half_as_much_again() {
        let suggested = |used: usize| suggest(used).expect("a size");
        assert_eq!(suggested(4 << 10), 64 << 10);
        assert_eq!(suggested(32 << 10), 64 << 10);
        assert_eq!(suggested(36 << 10), 128 << 10);
        assert_eq!(suggested(200 << 10), 512 << 10);
        assert_eq!(suggest(1 << 30), None);
    }

    #[test]
    fn times_and_bytes_are_short() {
        let times = [0, 12, 1_500, 2_345_678, 61_000_000_000].map(|n| short(Duration::from_nanos(n)));
        assert_eq!(times, ["0", "12ns", "1.5µs", "2.3ms", "61.0s"]);
        assert_eq!([0, 4096, 3 << 20].map(bytes), ["-", "4.0K", "3.0M"]);
    }
}
