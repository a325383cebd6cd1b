//! Tables of ratios, for documents: absolute times depend on the machine as much as on the peers.

use crate::catalogue::{Measure, SECTIONS};
use crate::driver::{Result, Row, Setting, usual_setting};
use crate::report::{Line, Summary, ratio, show, table, three, to_best};
use std::fmt::Write;

/// The columns of ratios: heading (the first column has "sward" before it), numerator, denominator.
const RATIOS: [(&str, &str, &str); 8] = [
    ("/ Go", "sward", "go"),
    ("/ tokio", "sward", "tokio"),
    ("/ may", "sward", "may"),
    ("/ threads", "sward", "threads"),
    ("/ raw", "sward", "raw"),
    ("homes / pinned", "sward-homes", "sward"),
    ("homes / Go", "sward-homes", "go"),
    ("migrating / Go", "sward-migrating", "go"),
];

/// One measure of one workload.
struct Entry {
    what: String,
    measure: String,
    ratios: [Option<f64>; RATIOS.len()],
    spread: f64,
    /// Whether sward takes less than all other runtimes.
    best: bool,
}

pub fn write(rows: &[Row]) -> String {
    let mut text = String::new();
    let Some(usual) = usual_setting(rows) else { return text };
    let _ = writeln!(
        text,
        "Ratios of medians. Unless a row says otherwise: {usual}. Below one, sward takes less; bold: it takes\n\
         the least of all runtimes. Raw: an epoll loop written by hand, the limit for servers. sward is in pinned\n\
         mode, except in the columns of mobile homes and of started coroutines that migrate. Spread: the\n\
         farthest of sward's own samples from their median. `-`: the peer was skipped, or there is nothing to\n\
         divide by."
    );
    for section in SECTIONS {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.workload.section() == section).collect();
        // Measure by measure, so that rows to compare stand together.
        let mut measures: Vec<Measure> = Vec::new();
        for &measure in rows.iter().flat_map(|row| row.workload.measures) {
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        let of_measure = |measure: Measure| rows.iter().filter_map(move |row| entry(row, measure, usual));
        let entries: Vec<Entry> = measures.into_iter().flat_map(of_measure).collect();
        write_table(&mut text, section, &entries);
    }
    for (title, reasons) in [("Skipped", reasons(rows, false)), ("Failed", reasons(rows, true))] {
        if !reasons.is_empty() {
            let _ = writeln!(text, "\n{title}:\n");
        }
        for (reason, whose) in reasons {
            let _ = writeln!(text, "- {}: {}", whose.join(", "), reason.trim());
        }
    }
    text
}

fn entry(row: &Row, measure: Measure, usual: Setting) -> Option<Entry> {
    if !row.workload.measures.contains(&measure) {
        return None;
    }
    let lines = table(row, measure);
    let own = lines.iter().find(|line| line.peer == "sward")?.summary;
    let runtimes: Vec<Line> = lines.iter().filter(|line| line.peer != "raw").copied().collect();
    let mut what = format!("`{}`", row.workload.name);
    if row.workload.measures[0] == measure {
        let _ = write!(what, " {}", row.workload.about);
    }
    if row.setting != usual {
        let _ = write!(what, " ({})", row.setting);
    }
    let mut title = measure.title.to_owned();
    if measure.key == "bytes" {
        let _ = write!(title, " (sward: {})", show(own.median, measure));
    }
    Some(Entry {
        what,
        measure: title,
        ratios: RATIOS.map(|(_, above, below)| ratio(&lines, above, below)),
        spread: spread(own),
        best: to_best(&runtimes, "sward").is_some_and(|ratio| ratio < 1.0),
    })
}

fn spread(of: Summary) -> f64 {
    if of.median > 0.0 { (of.most - of.median).max(of.median - of.least) / of.median } else { 0.0 }
}

fn write_table(text: &mut String, section: &str, entries: &[Entry]) {
    let there: Vec<usize> =
        (0..RATIOS.len()).filter(|n| entries.iter().any(|entry| entry.ratios[*n].is_some())).collect();
    if there.is_empty() {
        return;
    }
    let heads: Vec<&str> = there.iter().map(|n| RATIOS[*n].0).collect();
    let _ =
        writeln!(text, "\n### {section}\n\n| workload | measure | sward {} | spread |", heads.join(" | "));
    let _ = writeln!(text, "|---|---|{}--:|", "--:|".repeat(there.len()));
    for entry in entries {
        let _ = write!(text, "| {} | {} |", entry.what, entry.measure);
        for &n in &there {
            let bold = entry.best && RATIOS[n].1 == "sward";
            let _ = match entry.ratios[n] {
                Some(ratio) if bold && ratio < 1.0 => write!(text, " **{}** |", three(ratio)),
                Some(ratio) => write!(text, " {} |", three(ratio)),
                None => write!(text, " - |"),
            };
        }
        let _ = writeln!(text, " ±{:.0} % |", entry.spread * 100.0);
    }
}

/// Why peers have failed or were skipped: each reason once, with its peer.
fn reasons(rows: &[Row], failed: bool) -> Vec<(&str, Vec<String>)> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for row in rows {
        for (peer, result) in &row.peers {
            let (who, reason) = match result {
                Result::Failed(reason) if failed => (format!("{peer} on `{}`", row.workload.name), reason),
                Result::Skipped(reason) if !failed => ((*peer).to_owned(), reason),
                _ => continue,
            };
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, whose)) if whose.contains(&who) => {}
                Some((_, whose)) => whose.push(who),
                None => reasons.push((reason, vec![who])),
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::rows;

    #[test]
    fn bold_is_what_no_runtime_undercuts() {
        let text = write(&rows(
            r#"{ "rounds": 5, "workers": 2, "quick": false, "results": [
                { "workload": "echo-64", "peers": {
                    "sward": { "samples": [{ "cpu": 90 }, { "cpu": 100 }, { "cpu": 120 }] },
                    "sward-migrating": { "samples": [{ "cpu": 80 }] },
                    "go": { "samples": [{ "cpu": 200 }] },
                    "tokio": { "failed": "it fell" },
                    "raw": { "samples": [{ "cpu": 80 }] } } },
                { "workload": "skew", "about": "uneven", "peers": {
                    "sward": { "samples": [{ "cpu": 100 }] },
                    "go": { "samples": [{ "cpu": 200 }] },
                    "may": { "samples": [{ "cpu": 50 }] } } }
            ] }"#,
        ));
        assert!(text.contains("| sward / Go | / may | / raw | migrating / Go | spread |"), "{text}");
        assert!(text.contains("| server CPU per request | **0.50** | - | 1.25 | 0.40 | ±20 % |"), "{text}");
        assert!(text.contains("| `skew` uneven | server CPU per request | 0.50 | 2.00 | - | - | ±0 % |"));
        assert!(text.ends_with("\nFailed:\n\n- tokio on `echo-64`: it fell\n"), "{text}");
    }

    #[test]
    fn a_reason_is_given_once_and_an_unusual_setting_with_its_row() {
        let text = write(&rows(
            r#"{ "rounds": 5, "workers": 2, "quick": false, "results": [
                { "workload": "fib", "about": "a", "peers": {
                    "sward": { "samples": [{ "wall": 1 }] }, "raw": { "skipped": "why" } } },
                { "workload": "spawn", "about": "b", "peers": {
                    "sward": { "samples": [{ "wall": 1 }] }, "raw": { "skipped": "why" } } },
                { "workload": "skynet", "about": "c", "workers": 1, "peers": {
                    "sward": { "samples": [{ "wall": 1 }] }, "go": { "samples": [{ "wall": 2 }] },
                    "may": { "skipped": "why" } } }
            ] }"#,
        ));
        assert!(
            text.starts_with("Ratios of medians. Unless a row says otherwise: 5 rounds, 2 workers. "),
            "{text}"
        );
        assert!(text.contains("| `skynet` c (5 rounds, 1 worker) |"), "{text}");
        assert!(text.ends_with("\nSkipped:\n\n- raw, may: why\n"), "{text}");
    }
}
