//! What processes use, as Linux counts it in `/proc`.

use std::fs;
use std::time::Duration;

use crate::error::Error;

/// The unit of CPU time in `/proc/PID/stat`: 100 per second on every architecture that the server is built for,
/// whatever the kernel's own timer is.
const TICK: Duration = Duration::from_millis(10);

/// Files that a process has open besides connections: its binary, logs, epoll, timers, listeners.
const OTHER_FILES: u64 = 64;

/// The processes that make up a server.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// Those with these ids.
    pub(crate) fn new(ids: &[u32]) -> Self {
        Self(ids.to_vec())
    }

    /// Resident memory of all, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64, Error> {
        self.0.iter().map(|pid| read(*pid, "status", resident_kib)).sum()
    }

    /// CPU time that all have used so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let ticks: u64 = self.0.iter().map(|pid| read(*pid, "stat", cpu_ticks)).sum::<Result<_, _>>()?;
        Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// Fails if one of them, or this process, may not open `connections` evenly spread.
    pub(crate) fn check_open_files(&self, connections: u32) -> Result<(), Error> {
        let connections = u64::from(connections);
        let share = connections.div_ceil(u64::try_from(self.0.len()).unwrap_or(1).max(1));
        let each = self.0.iter().map(|pid| (*pid, share + OTHER_FILES));
        for (pid, needed) in each.chain([(std::process::id(), connections + OTHER_FILES)]) {
            let limit = read(pid, "limits", open_files)?;
            if limit < needed {
                return Err(Error::TooFewFiles { pid, limit, needed });
            }
        }
        Ok(())
    }
}

/// Soft limit of this process on open files.
pub(crate) fn own_open_files() -> Result<u64, Error> {
    read(std::process::id(), "limits", open_files)
}

fn read(pid: u32, file: &str, parse: fn(&str) -> Option<u64>) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).map_err(Error::system(&path))?;
    parse(&text).ok_or(Error::UnknownForm(path))
}

/// `VmRSS` of `/proc/PID/status`.
fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// `utime + stime` of `/proc/PID/stat`. The second field is the program's name, in parentheses; it may hold spaces and
/// parentheses itself, so counting starts behind the last one, at field 3.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(14 - 3);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The soft limit on open files of `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory() {
        let status = "Name:\tx\nVmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 5 kB\n";
        assert_eq!(resident_kib(status), Some(1234));
        assert_eq!(resident_kib("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn cpu_time_of_a_process_with_an_odd_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 5600 0 0 0 730 270 8 9 20 0 4 0 100 2 3";
        assert_eq!(cpu_ticks(stat), Some(1000));
        assert_eq!(cpu_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn limit_on_open_files() {
        let limits = "Limit      Soft Limit  Hard Limit  Units\nMax open files            20000     524288     files\n";
        assert_eq!(open_files(limits), Some(20000));
        assert_eq!(open_files("Max open files  unlimited unlimited files"), Some(u64::MAX));
    }

    #[test]
    fn this_process_can_be_read() {
        let own = Processes::new(&[std::process::id()]);
        assert!(own.resident_kib().unwrap() > 100);
        assert!(own.cpu().unwrap() < Duration::from_secs(3600));
        assert!(
            matches!(own.check_open_files(u32::MAX), Err(Error::TooFewFiles { .. }))
                || own_open_files().unwrap() > 1 << 32
        );
    }
}
