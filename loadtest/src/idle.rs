//! The idle profile: what a connection that does nothing costs in memory.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::cli::Idle;
use crate::connection::open_all;
use crate::error::Error;
use crate::process::Processes;
use crate::report::{Report, rounded};
use crate::{machine, readers};

/// Opens the connections, waits, reports.
pub(crate) fn run(settings: &Idle) -> Result<Report, Error> {
    let machine = machine::figures()?;
    let common = &settings.common;
    let server = Processes::new(&common.pid);
    let count = settings.connections.get();
    server.check_open_files(count)?;

    let before = server.resident_kib()?;
    let channels = settings.channels.unwrap_or(settings.connections).get();
    let channel = |n: u32| format!("loadtest-{}", n % channels);
    let (mut connections, took) = open_all(&common.address, common, count, channel)?;
    let connected = server.resident_kib()?;
    let stop = AtomicBool::new(false);
    let (settled, closed) = thread::scope(|scope| {
        let reader = scope.spawn(|| readers::read(&mut connections, &stop, |_, _| {}));
        thread::sleep(Duration::from_secs(settings.settle.into()));
        let settled = server.resident_kib();
        stop.store(true, Relaxed);
        let closed = reader.join().expect("the reader does not panic")?;
        Ok::<_, Error>((settled?, closed))
    })?;

    // Memory may also have been given back.
    let each = |kib: u64| rounded((kib as f64 - before as f64) / f64::from(count));
    let figures = vec![
        ("rss_before_kib", json!(before)),
        ("rss_connected_kib", json!(connected)),
        ("rss_settled_kib", json!(settled)),
        ("connected_per_connection_kib", each(connected)),
        ("settled_per_connection_kib", each(settled)),
        ("connects_per_second", rounded(f64::from(count) / took.as_secs_f64())),
        ("closed_by_server", json!(closed)),
    ];
    Ok(Report {
        profile: "idle",
        server_version: common.server_version.clone(),
        machine,
        settings: json!(settings),
        columns: vec![("server", figures)],
    })
}
