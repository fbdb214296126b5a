//! Running this test program once more under valgrind's callgrind, which counts instructions and calls.
//!
//! Knows how to have only some functions counted, and what the reports look like; nothing of budgets.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Set in the program that is counted.
const COUNTED: &str = "FANFARE_COUNTED";

/// How often each loop runs before it is counted, so that tables and buffers have grown and what is made once is made.
const WARM_UP: u32 = 10;

/// How often it runs while it is counted.
const RUNS: u32 = 50;

/// The functions of the C library that give out memory: what Rust's default allocator calls.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What one run of a loop took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) instructions: u64,
    /// Pieces of memory asked for, those included that were grown.
    pub(crate) allocations: u64,
}

/// Whether this is the program that is counted.
pub(crate) fn is_counted() -> bool {
    std::env::var_os(COUNTED).is_some()
}

/// Runs a loop so that callgrind counts it. There are two reports of it; in the second is nothing but what is counted.
pub(crate) fn run(work: &mut dyn FnMut()) {
    reported(WARM_UP, work);
    reported(RUNS, work);
}

/// At the end of this there is a report. Valgrind knows it by its name, and of one function it does only one thing.
#[inline(never)]
fn reported(times: u32, work: &mut dyn FnMut()) {
    counted(times, work);
}

/// Instructions are counted in here, and nowhere else. Calls are counted everywhere.
#[inline(never)]
fn counted(times: u32, work: &mut dyn FnMut()) {
    (0..times).for_each(|_| work());
}

/// Runs the one test called `test` of this program under callgrind, and answers what each of its loops took.
pub(crate) fn count(test: &str) -> Vec<Count> {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let report = reports.path().join("report");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--compress-strings=no", "--compress-pos=no"])
        .args(["--toggle-collect=testkit::callgrind::counted", "--dump-after=testkit::callgrind::reported"])
        .arg(format!("--callgrind-out-file={}", report.display()))
        .arg(std::env::current_exe().expect("the test program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(COUNTED, "1")
        .output()
        .expect("valgrind runs; `make test` installs it");
    assert!(output.status.success(), "{test} under valgrind: {}", String::from_utf8_lossy(&output.stderr));
    // The reports have numbers behind their names. One more, of the end, has none.
    (1..).map(|number| report.with_extension((2 * number).to_string())).map_while(|path| read(&path)).collect()
}

fn read(report: &Path) -> Option<Count> {
    let report = fs::read_to_string(report).ok()?;
    let number = |line: &str| line.split_ascii_whitespace().next()?.parse::<u64>().ok();
    let instructions = report.lines().find_map(|line| number(line.strip_prefix("totals: ")?)).unwrap_or_default();
    // A call is a line with the name of what is called, perhaps one with its file, and one with how often.
    let mut allocations = 0;
    let mut called = "";
    for line in report.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=").and_then(number)
            && ALLOCATORS.contains(&called)
        {
            allocations += calls;
        }
    }
    let each = |total: u64| (total + u64::from(RUNS) / 2) / u64::from(RUNS);
    Some(Count { instructions: each(instructions), allocations: each(allocations) })
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// In a program of its own, too.
    #[test]
    fn counts_one_run_of_each_loop() {
        if is_counted() {
            run(&mut || {
                let mut grown = black_box(Vec::with_capacity(3));
                grown.extend_from_slice(black_box(b"four"));
                drop(black_box((grown, Box::new(1_u64), vec![0_u8; 100])));
            });
            run(&mut || {});
            return;
        }
        let counts = count("callgrind::tests::counts_one_run_of_each_loop");
        let [some, none] = counts[..] else { panic!("{counts:?}") };
        assert_eq!((some.allocations, none.allocations), (4, 0));
        assert!(none.instructions < 20 && some.instructions > 4 * none.instructions, "{counts:?}");
    }
}
