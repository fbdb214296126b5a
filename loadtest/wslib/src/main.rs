//! Measures WebSocket libraries side by side; see README.md.

mod client;
mod edge;
mod library;
mod meter;
mod server;

use std::process::{Command, Stdio};

use library::LIBRARIES;

#[global_allocator]
static ALLOCATOR: meter::Counting = meter::Counting;

const RUNS: usize = 3;
const IDLE_CONNECTIONS: usize = 4_000;
const FANOUT_CONNECTIONS: usize = 1_000;

/// What to measure: column heading, and the arguments of the server process.
const COLUMNS: [(&str, &str, usize, usize); 3] = [
    ("idle, after one 64 B message", "idle", IDLE_CONNECTIONS, 64),
    ("idle, after one 16 KiB message", "idle", IDLE_CONNECTIONS, 16 * 1024),
    ("fan-out", "fanout", FANOUT_CONNECTIONS, 0),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args[i].parse::<usize>().expect("a number");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match args.first().map(String::as_str) {
        None => compare(),
        Some("client") => {
            let port = u16::try_from(number(1)).expect("a port");
            runtime().block_on(client::run(port, number(2), number(3)));
        }
        Some(mode) => {
            let figures = runtime().block_on(server::run(mode, &args[1], number(2), number(3)));
            println!("{} {} {}", figures[0], figures[1], figures[2]);
        }
    }
}

/// Runs every measurement `RUNS` times, interleaved, and prints the medians.
fn compare() {
    for (heading, mode, connections, message) in COLUMNS {
        let mut runs = vec![Vec::new(); LIBRARIES.len()];
        for _ in 0..RUNS {
            for (library, runs) in LIBRARIES.iter().zip(&mut runs) {
                runs.push(measure(mode, library, connections, message));
            }
        }
        let names = if mode == "idle" {
            ["RSS KiB/conn", "RSS trimmed KiB/conn", "heap B/conn"]
        } else {
            ["CPU us/delivery", "of which user us", "allocations/delivery"]
        };
        println!("\n{heading}, {connections} connections: median (min-max) of {RUNS}\n");
        println!("| library | {} | {} | {} | x floor |", names[0], names[1], names[2]);
        println!("|---|---|---|---|---|");
        let floor = median(&runs[0], 0).1;
        for (library, runs) in LIBRARIES.iter().zip(&runs) {
            let cells: Vec<String> = (0..3)
                .map(|i| median(runs, i))
                .map(|(min, median, max)| format!("{median:.2} ({min:.2}-{max:.2})"))
                .collect();
            let ratio = median(runs, 0).1 / floor;
            println!("| {library} | {} | {ratio:.2} |", cells.join(" | "));
        }
    }
}

fn measure(mode: &str, library: &str, connections: usize, message: usize) -> [f64; 3] {
    let program = std::env::current_exe().expect("own path");
    let output = Command::new(program)
        .args([mode, library, &connections.to_string(), &message.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("a server process");
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<f64> = text.split_whitespace().map(|f| f.parse().expect("a figure")).collect();
    figures.try_into().expect("three figures")
}

fn median(runs: &[[f64; 3]], figure: usize) -> (f64, f64, f64) {
    let mut values: Vec<f64> = runs.iter().map(|run| run[figure]).collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
