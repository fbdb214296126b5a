//! What the operating system knows of this process, in the exposition format.
//!
//! Read from `/proc`; where that does not exist the metrics are absent, not zero.

use std::fmt::Display;
use std::fs;

use crate::catalogue::Metric;
use crate::exposition::Exposition;
use crate::metrics::process::{
    CPU_SECONDS, MAX_FDS, OPEN_FDS, RESIDENT_MEMORY_BYTES, START_TIME_SECONDS, THREADS, VIRTUAL_MEMORY_BYTES,
};

/// Ticks of `/proc/*/stat` in a second. The kernel shows user space 100 on every architecture, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process takes of its machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Processor time used since the process began, in seconds.
    pub cpu_seconds: f64,
}

impl Resources {
    /// Those of this process; `None` where the operating system does not tell them.
    pub fn of_this_process() -> Option<Self> {
        let memory_bytes = resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)?;
        let ticks = cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { memory_bytes, cpu_seconds: ticks / TICKS_PER_SECOND })
    }
}

/// The metrics of this process.
pub(crate) fn render() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (status, stat, limits) = (read("/proc/self/status"), read("/proc/self/stat"), read("/proc/self/limits"));
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count());
    let started = started(&stat, &read("/proc/stat"));
    let mut page = Exposition::default();
    write(&mut page, &RESIDENT_MEMORY_BYTES, resident_bytes(&status));
    write(&mut page, &VIRTUAL_MEMORY_BYTES, bytes(&status, "VmSize:"));
    write(&mut page, &CPU_SECONDS, cpu_ticks(&stat).map(|ticks| format!("{:.2}", ticks / TICKS_PER_SECOND)));
    write(&mut page, &OPEN_FDS, open);
    write(&mut page, &MAX_FDS, max_open_files(&limits));
    write(&mut page, &THREADS, field(&status, "Threads:").and_then(|threads| threads.parse::<u64>().ok()));
    write(&mut page, &START_TIME_SECONDS, started.map(|seconds| format!("{seconds:.2}")));
    page.into_text()
}

fn write(page: &mut Exposition, metric: &Metric, value: Option<impl Display>) {
    if let Some(value) = value {
        page.metric(metric).add(&[], value);
    }
}

/// What stands behind `name` in a file of lines.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn bytes(status: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(status, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn resident_bytes(status: &str) -> Option<u64> {
    bytes(status, "VmRSS:")
}

/// The fields of `/proc/*/stat` from the third on. They are counted from behind the command, which may hold spaces and
/// parentheses.
fn from_third(stat: &str) -> Option<impl Iterator<Item = &str>> {
    stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace())
}

/// User and system time: fields 14 and 15.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = from_third(stat)?.skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// When the process began, in seconds since the Unix epoch: field 22 counts from when the machine did.
fn started(stat: &str, machine: &str) -> Option<f64> {
    let ticks: f64 = from_third(stat)?.nth(19)?.parse().ok()?;
    let booted: f64 = field(machine, "btime")?.parse().ok()?;
    Some(booted + ticks / TICKS_PER_SECOND)
}

fn max_open_files(limits: &str) -> Option<String> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some("+Inf".to_owned()),
        number => number.parse::<u64>().ok().map(|number| number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(bytes("VmSize:\t4 kB\nThreads:\t12\n", "VmSize:"), Some(4096));
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(started(stat, "cpu 1 2 3\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000.05));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   524288   files\n";
        assert_eq!(max_open_files(limits).as_deref(), Some("1024"));
    }

    #[test]
    fn every_metric_is_told_of_this_process() {
        let text = render();
        for metric in crate::metrics::process::ALL {
            let value = field(&text, &format!("{} ", metric.name)).unwrap();
            // A process that has only begun has used no processor time yet.
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{} {value}", metric.name);
        }
    }

    #[test]
    fn odd_files_are_absent_metrics() {
        assert_eq!(
            (resident_bytes("VmRSS: many"), cpu_ticks("x"), max_open_files("Max open files")),
            (None, None, None)
        );
    }
}
