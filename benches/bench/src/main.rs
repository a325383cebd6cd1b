//! The benchmark: the same workloads on sward and on its peers, in turns.
//!
//! From the top down: the driver (`driver.rs`) takes the workloads of the catalogue (`catalogue.rs`) and runs
//! each on every installed peer, each time in a new process (`child.rs`: this program with hidden arguments,
//! or the Go program). The results become tables (`report.rs`, `markdown.rs`), JSON that can be read again
//! (`json.rs`), plots (`plot.rs`), and a comparison with bounds (`bounds.rs`). Below are the workloads
//! (`micro/`, `net/`) and the peers' names for things (`peers/`). `seeds/` and `files/` are programs of their
//! own in this one, with reports of their own (`suite/`).

mod bounds;
mod catalogue;
mod child;
mod completions;
mod driver;
mod files;
mod json;
mod markdown;
mod micro;
mod net;
mod peers;
mod plot;
mod report;
mod seeds;
mod suite;
mod sys;

use bounds::Bound;
use catalogue::{PEERS, Workload};
use driver::Setting;
use std::path::PathBuf;
use std::process::exit;

const HELP: &str =
    "sward-bench [WORKLOAD...] [--rounds N] [--peers A,B] [--workers N] [--quick] [--from FILE]...
            [--bounds FILE] [--json FILE] [--svg DIR] [--markdown FILE]
  WORKLOAD   a name of --list, or what some begin with: echo is echo-1, echo-64 and so on (all)
  --rounds   runs of each workload on each peer (5)
  --peers    only these (all that are there)
  --workers  threads that run coroutines (as many as there are processors)
  --quick    a tenth of the work, one round: whether it works, not how fast it is
  --from     runs nothing: the reports of what --json wrote; of several files, the later one's
             workloads take the place of the earlier one's of the same name, with all peers
  --bounds   the workloads and the peers of this file of bounds, if none are named; says in the end
             where mobile homes are above a bound, and fails if they are
  --json     all samples, into this file
  --svg      a plot for each table and two over all, into this folder
  --markdown tables of ratios, into this file
  --list     names the workloads and the peers
sward-bench seeds: what books and papers claim about waiting, measured; see `seeds --help`
sward-bench completions: receive and send that io_uring completes, beside readiness; see `completions --help`
sward-bench files: files by each way, beside threads, tokio and fio; see `files --help`";

/// The settings of the command line.
pub struct Plan {
    pub workloads: Vec<Workload>,
    pub peers: Vec<&'static str>,
    pub setting: Setting,
    /// Files to read the samples from; if there are any, nothing runs.
    pub from: Vec<PathBuf>,
    pub bounds: Vec<Bound>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
}

fn usage(message: &str) -> ! {
    eprintln!("{message}\n\n{HELP}");
    exit(2)
}

fn plan(arguments: &[String]) -> Plan {
    let all = catalogue::workloads(sys::raise_descriptor_limit());
    let (mut rounds, mut named_peers) = (None, false);
    let mut plan = Plan {
        workloads: Vec::new(),
        peers: PEERS.to_vec(),
        setting: Setting {
            rounds: 5,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            quick: false,
        },
        from: Vec::new(),
        bounds: Vec::new(),
        json: None,
        svg: None,
        markdown: None,
    };
    let mut names: Vec<&str> = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage(&format!("{argument} wants a value")));
        let number = |text: &str| match text.parse() {
            Ok(number) if number > 0 => number,
            _ => usage(&format!("{argument} wants a number above zero, not {text:?}")),
        };
        match argument {
            "--help" | "-h" => {
                println!("{HELP}");
                exit(0);
            }
            "--list" => {
                for workload in &all {
                    println!("{:16} {}", workload.name, workload.about);
                }
                println!("\npeers: {}", PEERS.join(", "));
                exit(0);
            }
            "--rounds" => rounds = Some(number(value())),
            "--workers" => plan.setting.workers = number(value()),
            "--quick" => plan.setting.quick = true,
            "--bounds" => {
                plan.bounds = bounds::read(value().as_ref()).unwrap_or_else(|e| usage(&e.to_string()))
            }
            "--from" => plan.from.push(value().into()),
            "--json" => plan.json = Some(value().into()),
            "--svg" => plan.svg = Some(value().into()),
            "--markdown" => plan.markdown = Some(value().into()),
            "--peers" => {
                let known = |name: &str| PEERS.into_iter().find(|peer| *peer == name);
                let peer = |name| known(name).unwrap_or_else(|| usage(&format!("no such peer: {name}")));
                plan.peers = value().split(',').map(peer).collect();
                named_peers = true;
            }
            _ if argument.starts_with('-') => usage(&format!("no such option: {argument}")),
            _ => names.push(argument),
        }
    }
    for name in &names {
        if !all.iter().any(|workload| workload.answers_to(name)) {
            usage(&format!("no such workload: {name}"));
        }
    }
    if !plan.bounds.is_empty() && !named_peers {
        plan.peers.retain(|peer| peer.starts_with("sward") || matches!(*peer, "go" | "tokio"));
    }
    plan.setting.rounds = rounds.unwrap_or(if plan.setting.quick { 1 } else { 5 });
    let bounded = |name| plan.bounds.iter().any(|bound| bound.workload == name);
    let asked = |workload: &Workload| match names.is_empty() {
        true => plan.bounds.is_empty() || bounded(workload.name),
        false => names.iter().any(|name| workload.answers_to(name)),
    };
    plan.workloads = all.into_iter().filter(asked).collect();
    plan
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("homes") => child::homes(),
        Some("child") => child::run(&arguments[1..]),
        Some("serve") => child::serve(&arguments[1..]),
        Some("load") => child::load(&arguments[1..]),
        Some("seeds") => seeds::SEEDS.run(&arguments[1..]),
        Some("completions") => completions::COMPLETIONS.run(&arguments[1..]),
        Some("files") => files::FILES.run(&arguments[1..]),
        Some("read-files") => files::child(&arguments[1..]),
        Some("trap") => seeds::trap_child(&arguments[1..]),
        _ => {
            let plan = plan(&arguments);
            if plan.from.is_empty() { driver::run(&plan) } else { report::again(&plan) }
        }
    };
    if let Err(e) = done {
        eprintln!("sward-bench: {e}");
        exit(1);
    }
}
