//! Where a measurement was made.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::error::Error;
use crate::measure::process;
use crate::report::Figures;

/// The machine, what else it was doing, and the generator.
pub(crate) fn figures() -> Result<Figures, Error> {
    let read = |path: &str| fs::read_to_string(path).map_err(Error::system(path));
    let processors = read("/proc/cpuinfo")?;
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_err(Error::system("counting processors"))?;
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(vec![
        ("cores", json!(cores)),
        ("processor", json!(processor.map_or("unknown", |(_, name)| name))),
        ("kernel", json!(read("/proc/sys/kernel/osrelease")?.trim())),
        ("load_average_before", json!(read("/proc/loadavg")?.split(' ').next())),
        ("open_files_limit", json!(process::own_open_files()?)),
        ("generator", json!(format!("loadtest {} ({build} build)", env!("CARGO_PKG_VERSION")))),
    ])
}

/// Allows this process, and what it starts, as many open files as it may have: a client is one here, and one there.
pub(crate) fn raise_open_files() {
    // Where that is refused, what needs more says so.
    getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard)).ok();
}
