//! All samples as JSON, and back, so that reports can be made again, and a part of the workloads can run
//! again.

use crate::Plan;
use crate::catalogue::{self, Workload};
use crate::driver::{Result, Row, Setting};
use serde_json::{Value, json};
use std::io;

type Outcome<T> = std::result::Result<T, String>;

/// All samples, with the settings of their runs. Times are in nanoseconds.
pub fn write(rows: &[Row]) -> String {
    let result = |result: &Result| match result {
        Result::Samples(samples) => json!({ "samples": samples }),
        Result::Skipped(reason) => json!({ "skipped": reason }),
        Result::Failed(reason) => json!({ "failed": reason }),
    };
    let row = |row: &Row| {
        let peers: serde_json::Map<String, Value> =
            row.peers.iter().map(|(peer, what)| ((*peer).to_owned(), result(what))).collect();
        let Setting { rounds, workers, quick } = row.setting;
        json!({
            "workload": row.workload.name,
            "about": row.workload.about,
            "rounds": rounds,
            "workers": workers,
            "quick": quick,
            "peers": peers,
        })
    };
    format!("{:#}\n", json!({ "results": rows.iter().map(row).collect::<Vec<_>>() }))
}

/// The samples in the plan's files of its workloads and peers, in the order of the catalogue.
pub fn read(plan: &Plan) -> io::Result<Vec<Row>> {
    // Reports do not use the sizes.
    let known = catalogue::workloads(u64::MAX);
    let mut rows = Vec::new();
    for file in &plan.from {
        let of_file = |what: String| io::Error::other(format!("{}: {what}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| of_file(e.to_string()))?;
        merge(&mut rows, parse(&text, &known, &plan.peers).map_err(of_file)?);
    }
    let place = |row: &Row| plan.workloads.iter().position(|workload| workload.name == row.workload.name);
    rows.retain(|row| place(row).is_some());
    rows.sort_by_key(place);
    Ok(rows)
}

/// A later run of a workload replaces an earlier one, with all peers: only the peers of one run met the same
/// conditions.
fn merge(rows: &mut Vec<Row>, later: Vec<Row>) {
    for row in later {
        match rows.iter_mut().find(|earlier| earlier.workload.name == row.workload.name) {
            Some(earlier) => *earlier = row,
            None => rows.push(row),
        }
    }
}

fn parse(text: &str, known: &[Workload], peers: &[&'static str]) -> Outcome<Vec<Row>> {
    let all: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let rows = all["results"].as_array().ok_or("there are no results")?;
    rows.iter().map(|one| row(one, &all, known, peers)).collect()
}

fn row(row: &Value, all: &Value, known: &[Workload], peers: &[&'static str]) -> Outcome<Row> {
    let name = row["workload"].as_str().ok_or("a workload has no name")?;
    let workload = known.iter().find(|known| known.name == name);
    let mut workload = workload.cloned().ok_or_else(|| format!("no such workload: {name}"))?;
    // Some sizes depend on the machine of the run.
    if let Some(about) = row["about"].as_str() {
        about.clone_into(&mut workload.about);
    }
    // A file may have the settings of all its rows once, at its top.
    let said = |key: &str| row.get(key).or(all.get(key)).ok_or_else(|| format!("{name} has no {key}"));
    let number = |key| said(key)?.as_u64().ok_or_else(|| format!("{name}: {key} is no number"));
    let setting = Setting {
        rounds: number("rounds")? as usize,
        workers: number("workers")? as usize,
        quick: said("quick")? == true,
    };
    let of_peer = |&peer: &&'static str| Some(result(row["peers"].get(peer)?).map(|result| (peer, result)));
    let peers = peers.iter().filter_map(of_peer).collect::<Outcome<_>>();
    Ok(Row { workload, setting, peers: peers.map_err(|e| format!("{name}: {e}"))? })
}

fn result(of_peer: &Value) -> Outcome<Result> {
    let text = |key: &str| Some(of_peer.get(key)?.as_str()?.to_owned());
    if let Some(reason) = text("skipped") {
        return Ok(Result::Skipped(reason));
    }
    if let Some(reason) = text("failed") {
        return Ok(Result::Failed(reason));
    }
    let samples = serde_json::from_value(of_peer["samples"].clone());
    samples.map(Result::Samples).map_err(|e| format!("no samples: {e}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn rows(text: &str) -> Vec<Row> {
        parse(text, &catalogue::workloads(u64::MAX), &catalogue::PEERS).expect("it is as written")
    }

    const WHOLE: &str = r#"{ "rounds": 5, "workers": 2, "quick": false, "results": [
        { "workload": "spawn", "about": "then", "peers": {
            "go": { "failed": "it fell" },
            "sward": { "samples": [{ "wall": 1.5, "cpu": 2 }, { "wall": 2.5 }] } } },
        { "workload": "fib", "peers": { "raw": { "skipped": "why" } } }
    ] }"#;

    #[test]
    fn what_is_written_is_read() {
        let text = write(&rows(WHOLE));
        let read = rows(&text);
        assert_eq!(write(&read), text);
        assert_eq!(read[0].workload.about, "then");
        assert_eq!(read[0].setting, Setting { rounds: 5, workers: 2, quick: false });
        // In the order of the catalogue, not in that of the file.
        let [("sward", Result::Samples(samples)), ("go", Result::Failed(reason))] = &read[0].peers[..] else {
            panic!("{text}")
        };
        assert_eq!((samples[0]["cpu"], samples[1]["wall"], reason.as_str()), (2.0, 2.5, "it fell"));
        assert!(matches!(&read[1].peers[..], [("raw", Result::Skipped(reason))] if reason == "why"));
    }

    #[test]
    fn a_later_workload_replaces_the_earlier_one_with_all_peers() {
        let mut all = rows(WHOLE);
        merge(
            &mut all,
            rows(
                r#"{ "rounds": 3, "workers": 1, "quick": true, "results": [
                    { "workload": "mutex", "peers": {} },
                    { "workload": "spawn", "peers": { "tokio": { "samples": [] } } } ] }"#,
            ),
        );
        let names: Vec<&str> = all.iter().map(|row| row.workload.name).collect();
        assert_eq!(names, ["spawn", "fib", "mutex"]);
        assert!(matches!(&all[0].peers[..], [("tokio", Result::Samples(_))]));
        assert_eq!(all[0].setting, Setting { rounds: 3, workers: 1, quick: true });
        assert_eq!(all[1].setting, Setting { rounds: 5, workers: 2, quick: false });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str| parse(text, &catalogue::workloads(u64::MAX), &catalogue::PEERS).err();
        assert_eq!(wrong("{}").as_deref(), Some("there are no results"));
        let unknown = r#"{ "results": [{ "workload": "spam" }] }"#;
        assert_eq!(wrong(unknown).as_deref(), Some("no such workload: spam"));
        let bare = r#"{ "results": [{ "workload": "spawn" }] }"#;
        assert_eq!(wrong(bare).as_deref(), Some("spawn has no rounds"));
        let empty = r#"{ "rounds": 1, "workers": 1, "quick": true,
            "results": [{ "workload": "spawn", "peers": { "go": {} } }] }"#;
        assert!(wrong(empty).is_some_and(|e| e.starts_with("spawn: no samples")));
    }
}
