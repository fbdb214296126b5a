//! What the operating system knows of this process, in the exposition format.
//!
//! Read from `/proc`; where that does not exist the metrics are absent, not zero.

use std::fmt::Write as _;
use std::fs;

use crate::catalogue::Metric;
use crate::metrics::process::{CPU_SECONDS, MAX_FDS, OPEN_FDS, RESIDENT_MEMORY_BYTES};

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

/// Appends the metrics of this process to `out`.
pub(crate) fn render(out: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().to_string());
    write(out, &RESIDENT_MEMORY_BYTES, resident_bytes(&status).map(|bytes| bytes.to_string()));
    write(out, &CPU_SECONDS, cpu_ticks(&stat).map(|ticks| format!("{:.2}", ticks / TICKS_PER_SECOND)));
    write(out, &OPEN_FDS, open);
    write(out, &MAX_FDS, max_open_files(&limits));
}

fn write(out: &mut String, metric: &Metric, value: Option<String>) {
    let Some(value) = value else { return };
    let (name, help, kind) = (metric.name, metric.help, metric.kind.word());
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").expect("a string takes everything");
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// User and system time. The fields are counted from behind the command, which may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
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
        assert_eq!(cpu_ticks(stat), Some(300.0));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   524288   files\n";
        assert_eq!(max_open_files(limits).as_deref(), Some("1024"));
    }

    #[test]
    fn odd_files_are_absent_metrics() {
        assert_eq!(
            (resident_bytes("VmRSS: many"), cpu_ticks("x"), max_open_files("Max open files")),
            (None, None, None)
        );
    }
}
