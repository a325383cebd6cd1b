//! fio's io_uring engine: one thread that keeps so many reads under way.

use super::{Job, Work};
use crate::child::Sample;
use serde_json::Value;
use std::io;
use std::process::{Command, Stdio};

/// Why it cannot take part.
pub fn missing() -> Option<String> {
    let found = Command::new("fio").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let here = found.is_ok_and(|status| status.success());
    (!here).then(|| "fio is not installed".to_owned())
}

pub fn sample(job: &Job) -> io::Result<Sample> {
    let direct = u8::from(job.work == Work::Direct);
    let output = Command::new("fio")
        .args(["--name=read", "--rw=randread", "--bs=4k", "--ioengine=io_uring", "--thread", "--readonly"])
        .args(["--invalidate=1", "--fadvise_hint=random", "--output-format=json"])
        .arg(format!("--filename={}", job.data.large().display()))
        .arg(format!("--direct={direct}"))
        .arg(format!("--iodepth={}", job.tasks))
        .arg(format!("--number_ios={}", job.ops))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bad = || io::Error::other(format!("fio said: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let report: Value = serde_json::from_str(&text).map_err(|_| bad())?;
    let of_job = &report["jobs"][0];
    let number = |value: &Value| value.as_f64().ok_or_else(bad);
    let rate = number(&of_job["read"]["iops"])?;
    let processor = number(&of_job["usr_cpu"])? + number(&of_job["sys_cpu"])?;
    let (reads, errors) = (number(&of_job["read"]["total_ios"])?, number(&of_job["error"])?);
    if errors != 0.0 || reads < job.ops as f64 {
        return Err(bad());
    }
    let wall = 1e9 / rate;
    Ok(Sample::from([("wall".to_owned(), wall), ("cpu".to_owned(), wall * processor / 100.0)]))
}
