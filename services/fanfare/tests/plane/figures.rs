//! Times that were measured, and how they are told.

use std::time::Duration;

/// Times of one kind.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that a part of all, such as 0.99, keep within.
    pub(crate) fn at(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above 0")]
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    /// A row of a Markdown table.
    pub(crate) fn row(&self, name: &str) -> String {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|part| self.at(part).as_secs_f64() * 1000.0);
        format!("| {name} | {} | {half:.0} | {most:.0} | {all:.0} |", self.0.len())
    }
}

/// The head of a table of [`Times::row`].
pub(crate) const HEAD: &str = "| change | seen | p50 ms | p99 ms | max ms |\n| --- | ---: | ---: | ---: | ---: |";
