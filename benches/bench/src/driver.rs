//! Runs each workload on every installed peer, in turns: the order rotates from round to round, so that other
//! load on the machine affects all peers alike.

use crate::Plan;
use crate::catalogue::{Kind, Workload};
use crate::child::{Runner, Sample, build_go};
use crate::report;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use sward::runtime::homes_supported;

/// The settings of a workload's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    pub rounds: usize,
    pub workers: usize,
    pub quick: bool,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |count, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
        write!(f, "{}, {}", some(self.rounds, "round"), some(self.workers, "worker"))?;
        f.write_str(if self.quick { "; quick: the figures mean nothing" } else { "" })
    }
}

/// The result of one workload on one peer.
pub enum Result {
    Samples(Vec<Sample>),
    Skipped(String),
    Failed(String),
}

/// The setting of most rows. A report prints it once, and names the rows that differ.
pub fn usual_setting(rows: &[Row]) -> Option<Setting> {
    let count = |setting| rows.iter().filter(|row| row.setting == setting).count();
    rows.iter().map(|row| row.setting).max_by_key(|setting| count(*setting))
}

/// One workload with what each peer did, in the order of the plan.
pub struct Row {
    pub workload: Workload,
    pub setting: Setting,
    pub peers: Vec<(&'static str, Result)>,
}

pub fn run(plan: &Plan) -> io::Result<()> {
    let this = std::env::current_exe()?;
    let go = if plan.peers.contains(&"go") { build_go(&this) } else { Err("not asked for".into()) };
    let missing_go = go.as_ref().err().cloned();
    let missing_homes = homes_supported().err().map(|reason| reason.to_string());
    let found = Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let missing_wrk = found.is_err().then(|| "wrk is not installed".to_owned());
    let Setting { rounds, workers, quick } = plan.setting;
    let runner = Runner { this, go: go.ok(), workers, quick };
    let skips = |workload: &Workload, peer: &str| {
        let go = missing_go.as_ref().filter(|_| peer == "go");
        let wrk = missing_wrk.as_ref().filter(|_| matches!(workload.kind, Kind::Http { .. }));
        let homes = missing_homes.as_ref().filter(|_| peer == "sward-homes");
        go.or(wrk).or(homes).cloned().or_else(|| workload.skips(peer).map(str::to_owned))
    };

    println!("{} (raw: one thread; threads: the kernel's)\n", plan.setting);
    let bar = ProgressBar::new((plan.workloads.len() * rounds * plan.peers.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{msg:32} {wide_bar} {pos}/{len} {eta}").expect("it is fine"));
    let mut rows = Vec::new();
    for workload in &plan.workloads {
        let none = |&peer| match skips(workload, peer) {
            Some(reason) => (peer, Result::Skipped(reason)),
            None => (peer, Result::Samples(Vec::new())),
        };
        let peers = plan.peers.iter().map(none).collect();
        let mut row = Row { workload: workload.clone(), setting: plan.setting, peers };
        for round in 0..rounds {
            for turn in 0..row.peers.len() {
                let count = row.peers.len();
                let (peer, result) = &mut row.peers[(round + turn) % count];
                bar.set_message(format!("{} on {peer}", workload.name));
                if let Result::Samples(samples) = result {
                    match runner.sample(workload, peer) {
                        Ok(sample) => samples.push(sample),
                        Err(e) => *result = Result::Failed(e.to_string()),
                    }
                }
                bar.inc(1);
            }
        }
        bar.suspend(|| report::print(&row));
        rows.push(row);
    }
    bar.finish_and_clear();
    report::write(plan, &rows)?;
    let failed = |row: &Row| row.peers.iter().any(|(_, result)| matches!(result, Result::Failed(_)));
    match rows.iter().filter(|row| failed(row)).map(|row| row.workload.name).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        some => Err(io::Error::other(format!("failed: {}", some.join(", ")))),
    }
}
