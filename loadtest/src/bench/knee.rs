//! The knee of the floor: the highest rate that it carries.

use std::num::NonZeroU32;

use crate::error::Error;
use crate::profiles::fanout::{self, FanoutLoad};
use crate::target::Target;

/// From one rate to the next.
const STEP: f64 = 1.25;
/// A queue grows where latencies are so many times the least of the rates before.
const EXPLODED: f64 = 6.0;
/// What else the machine does should not look like the knee.
const TRIES: u32 = 2;
/// Of publishes per second: no machine is faster.
const HIGHEST: u32 = 100_000;

/// The highest rate of publishes that `floor` carries of those that grow by [`STEP`] from the one of `load` on: it
/// achieves what is offered, and its latencies have not exploded, at least in one of two tries.
pub(super) fn find(floor: &Target, load: &FanoutLoad) -> Result<NonZeroU32, Error> {
    let mut load = load.clone();
    let (mut knee, mut first) = (load.rate, f64::INFINITY);
    while load.rate.get() < HIGHEST {
        let mut carries = false;
        for _ in 0..TRIES {
            let result = fanout::run(floor, &load)?;
            let p99 = result.delivered_p99_ms();
            carries = result.keeps_up() && p99 <= EXPLODED * first;
            if carries {
                first = first.min(p99);
                break;
            }
        }
        if !carries {
            break;
        }
        knee = load.rate;
        load.rate = next(load.rate);
    }
    Ok(knee)
}

fn next(rate: NonZeroU32) -> NonZeroU32 {
    let grown = (f64::from(rate.get()) * STEP).ceil();
    // At least one more, and far below what the type holds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 125,000")]
    NonZeroU32::new(grown as u32).unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_always_grow() {
        let after = |rate| next(NonZeroU32::new(rate).unwrap()).get();
        assert_eq!((after(1), after(2), after(50), after(HIGHEST)), (2, 3, 63, 125_000));
    }
}
