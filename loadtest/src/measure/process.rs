//! What processes use, as Linux counts it in `/proc`.

use std::time::Duration;
use std::{fs, io};

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::error::Error;

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
        self.0.iter().map(|pid| read(*pid, "status", |status| kib(status, "VmRSS:"))).sum()
    }

    /// The most resident memory that any of them ever had, in KiB.
    pub(crate) fn peak_kib(&self) -> Result<u64, Error> {
        let mut peaks = self.0.iter().map(|pid| read(*pid, "status", |status| kib(status, "VmHWM:")));
        peaks.try_fold(0, |most, peak| Ok(most.max(peak?)))
    }

    /// CPU time that all have used so far, user and system, to the nanosecond as the scheduler counts it: ticks of 10 ms
    /// as in `/proc/PID/stat` are longer than many a measurement.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let of = |pid: &u32| {
            let id = Pid::from_raw(i32::try_from(*pid).unwrap_or(i32::MAX));
            let used = clock_getcpuclockid(id).and_then(|clock| clock.now());
            used.map(Duration::from)
                .map_err(|error| Error::system(format!("CPU time of {pid}"))(io::Error::from(error)))
        };
        self.0.iter().map(of).sum()
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

/// A line of `/proc/PID/status`.
fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
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
        assert_eq!((kib(status, "VmRSS:"), kib(status, "VmHWM:")), (Some(1234), Some(9000)));
        assert_eq!(kib("Name:\tkthreadd\n", "VmRSS:"), None);
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
        let (resident, peak) = (own.resident_kib().unwrap(), own.peak_kib().unwrap());
        // Tests beside this one allocate and free, and the kernel counts pages by CPU: only what is read at once agrees.
        assert!(resident > 100 && peak > resident / 2, "{peak} KiB at most, {resident} KiB now");
        let above = |status: &str| kib(status, "VmHWM:")?.checked_sub(kib(status, "VmRSS:")?);
        assert!(read(std::process::id(), "status", above).is_ok(), "the peak is at least what is resident");
        let before = own.cpu().unwrap();
        assert!(before < Duration::from_secs(3600));
        assert!((0..1_000).any(|_| own.cpu().unwrap() > before), "asking takes time");
        assert!(Processes::new(&[1 << 22]).cpu().is_err());
        assert!(
            matches!(own.check_open_files(u32::MAX), Err(Error::TooFewFiles { .. }))
                || own_open_files().unwrap() > 1 << 32
        );
    }
}
