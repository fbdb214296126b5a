//! Budgets of inner loops: how many instructions and allocations one run may take, held against a table in the
//! repository. Counted, not timed, so that a busy machine changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use crate::callgrind::{self, Count};

/// A tenth more than what was measured is let through, rounded up: for other compilers and C libraries, hash seeds, and
/// what else the program does meanwhile, which takes longer on a busy machine.
const fn limit(measured: u64) -> u64 {
    measured + measured.div_ceil(10)
}

const HEAD: &str = "\
# Budgets

<!-- Written by `make budgets`; a test compares. -->

What one run of each inner loop takes, and may take, in the profile that tests are built in. How it is counted, and what
to do when a loop is over its budget: [performance](performance.md#budgets).

| loop | instructions | at most | allocations | at most |
| --- | ---: | ---: | ---: | ---: |
";

/// The loops of a test, which runs a second time, in a program of its own that is counted.
#[derive(Debug)]
pub struct Budgets {
    test: &'static str,
    loops: Vec<&'static str>,
}

impl Budgets {
    /// No loops yet, in the test whose whole name is `test`.
    pub fn of(test: &'static str) -> Self {
        Self { test, loops: Vec::new() }
    }

    /// Has `work` counted under the name `name`.
    pub fn count<T>(&mut self, name: &'static str, mut work: impl FnMut() -> T) {
        self.loops.push(name);
        if callgrind::is_counted() {
            callgrind::run(&mut || drop(black_box(work())));
        }
    }

    /// Compares with `table`, or writes it anew if `FANFARE_BLESS` is set. Says so if a loop has become much cheaper
    /// than its budget.
    ///
    /// # Panics
    /// A loop takes more than it may, or the table is not of these loops.
    pub fn check(self, table: &Path) {
        if callgrind::is_counted() {
            return;
        }
        let counts = callgrind::count(self.test);
        assert_eq!(counts.len(), self.loops.len(), "each loop is counted once");
        let counted: Vec<_> = self.loops.into_iter().zip(counts).collect();
        if std::env::var_os("FANFARE_BLESS").is_some() {
            return fs::write(table, written(&counted)).expect("the table can be written");
        }
        let text = fs::read_to_string(table).expect("a table; `make budgets` writes it");
        let Compared { wrong, cheaper } = compare(&text, &counted);
        // Not by a macro, whose output a test that passes does not show.
        std::io::stderr().write_all(cheaper.as_bytes()).expect("somewhere to say so");
        assert!(wrong.is_empty(), "{wrong}if that is right, `make budgets` writes {} anew", table.display());
    }
}

/// What there is to be said, in lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    wrong: String,
    cheaper: String,
}

fn compare(table: &str, counted: &[(&str, Count)]) -> Compared {
    let mut budgets: BTreeMap<&str, Count> = table.lines().filter_map(row).collect();
    let mut compared = Compared::default();
    for (name, now) in counted {
        let Some(budget) = budgets.remove(name) else {
            compared.wrong += &format!("{name}: not in the table\n");
            continue;
        };
        let mut each = |what, now, budget| {
            if now > limit(budget) {
                compared.wrong += &format!("{name}: {now} {what}, at most {} are allowed\n", limit(budget));
            } else if limit(now) < budget {
                compared.cheaper +=
                    &format!("budget: {name}: {now} {what}, not {budget}; `make budgets` keeps it so\n");
            }
        };
        each("allocations", now.allocations, budget.allocations);
        // Other processors have other instructions.
        if cfg!(target_arch = "x86_64") {
            each("instructions", now.instructions, budget.instructions);
        }
    }
    compared.wrong.extend(budgets.keys().map(|name| format!("{name}: in the table, and there is no such loop\n")));
    compared
}

fn written(counted: &[(&str, Count)]) -> String {
    let row = |(name, count): &(&str, Count)| {
        let Count { instructions, allocations } = *count;
        let most = (limit(instructions), limit(allocations));
        format!("| {name} | {instructions} | {} | {allocations} | {} |\n", most.0, most.1)
    };
    HEAD.to_owned() + &counted.iter().map(row).collect::<String>()
}

/// A loop and its budget, if `line` is a row of them.
fn row(line: &str) -> Option<(&str, Count)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, name, instructions, _, allocations, ..] = cells[..] else { return None };
    Some((name, Count { instructions: instructions.parse().ok()?, allocations: allocations.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(instructions: u64, allocations: u64) -> Count {
        Count { instructions, allocations }
    }

    #[test]
    fn what_is_written_is_what_is_compared_with() {
        let table = written(&[("a", count(1000, 9)), ("b, c", count(0, 0))]);
        let check = |a: Count| compare(&table, &[("a", a), ("b, c", count(0, 0))]);
        for fits in [count(1000, 9), count(1100, 10), count(910, 9)] {
            assert_eq!(check(fits), Compared::default());
        }
        assert_eq!(check(count(1101, 9)).wrong, "a: 1101 instructions, at most 1100 are allowed\n");
        assert_eq!(check(count(1000, 11)).wrong, "a: 11 allocations, at most 10 are allowed\n");
        let cheaper = check(count(900, 9));
        assert_eq!(cheaper.wrong, "");
        assert_eq!(cheaper.cheaper, "budget: a: 900 instructions, not 1000; `make budgets` keeps it so\n");
    }

    #[test]
    fn the_table_is_of_the_loops() {
        let table = written(&[("a", count(1, 1))]);
        let compared = compare(&table, &[("b", count(1, 1))]);
        assert_eq!(compared.wrong, "b: not in the table\na: in the table, and there is no such loop\n");
    }
}
