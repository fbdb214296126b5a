//! The recorder behind every handle, and its text form.

use std::fmt;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::catalogue::Kind;
use crate::metrics::{BUILD_INFO, families};
use crate::process;

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another recorder is there already.
    #[error("metrics are already being recorded in this process")]
    AlreadyInstalled,
    /// A histogram without buckets.
    #[error("the buckets of a metric are not usable")]
    Buckets(#[from] metrics_exporter_prometheus::BuildError),
}

/// Gives the metrics of this process as text. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Starts recording for the whole process; handles taken before this count nothing. `version` goes into
    /// [`BUILD_INFO`].
    pub fn install(version: &str) -> Result<Self, InstallError> {
        let (recorder, exporter) = Self::build()?;
        metrics::set_global_recorder(recorder).map_err(|_| InstallError::AlreadyInstalled)?;
        describe(version);
        Ok(exporter)
    }

    /// A recorder of its own, for a test that puts it in place for one thread with `metrics::with_local_recorder`.
    pub fn build() -> Result<(PrometheusRecorder, Self), InstallError> {
        let mut builder = PrometheusBuilder::new();
        for metric in families() {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        Ok((recorder, Self { handle }))
    }

    /// Everything counted so far, in the Prometheus text format, without gauges that are [`ABSENT`](crate::ABSENT).
    pub fn render(&self) -> String {
        let mut text = present(self.handle.render());
        text.push_str(&process::render());
        text
    }

    /// Folds recorded observations into their buckets. Someone must call this every few seconds: until then each
    /// observation is kept by itself.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn present(text: String) -> String {
    const ABSENT: &str = " NaN";
    if !text.contains(ABSENT) {
        return text;
    }
    text.split_inclusive('\n').filter(|line| !line.trim_end().ends_with(ABSENT)).collect()
}

fn describe(version: &str) {
    families().for_each(|metric| metric.describe());
    BUILD_INFO.with([version]).set(1.0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalogue::Values;
    use crate::metrics::{CONNECTIONS, DELIVERY_SECONDS, catalogue};

    fn recorded(record: impl FnOnce()) -> String {
        let (recorder, exporter) = Exporter::build().unwrap();
        metrics::with_local_recorder(&recorder, record);
        exporter.render()
    }

    #[test]
    fn every_metric_of_the_catalogue_is_exposed_and_no_other() {
        let text = recorded(|| {
            describe("1.2.3");
            for metric in families() {
                let value = |values| match values {
                    Values::OneOf(values) => values[0],
                    Values::Described(_) => "any",
                };
                metric.register(&metric.labels.iter().map(|label| value(label.values)).collect::<Vec<_>>());
            }
        });
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let exposed: BTreeSet<_> = types.map(str::to_owned).collect();
        let expected = catalogue().map(|metric| format!("{} {}", metric.name, metric.kind.word())).collect();
        assert_eq!(exposed, expected);
        for metric in catalogue() {
            assert!(text.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{}", metric.name);
        }
        assert!(text.contains("fanfare_build_info{version=\"1.2.3\"} 1"), "{text}");
    }

    #[test]
    fn handles_count_under_their_labels() {
        let text = recorded(|| {
            CONNECTIONS.with(["pusher", "websocket"]).set(3.0);
            DELIVERY_SECONDS.with(["total"]).record(0.07);
        });
        assert!(text.contains("fanfare_connections{protocol=\"pusher\",transport=\"websocket\"} 3"), "{text}");
        assert!(text.contains("fanfare_delivery_seconds_bucket{hop=\"total\",le=\"0.06\"} 0"), "{text}");
        assert!(text.contains("fanfare_delivery_seconds_bucket{hop=\"total\",le=\"0.08\"} 1"), "{text}");
    }

    #[test]
    fn a_gauge_with_nothing_to_say_is_left_out() {
        let text = recorded(|| {
            CONNECTIONS.with(["pusher", "websocket"]).set(crate::ABSENT);
            CONNECTIONS.with(["pusher", "sse"]).set(0.0);
        });
        assert!(!text.contains("websocket") && !text.contains("NaN"), "{text}");
        assert!(text.contains("fanfare_connections{protocol=\"pusher\",transport=\"sse\"} 0\n"), "{text}");
    }

    #[test]
    #[should_panic(expected = "is no transport")]
    fn a_label_value_outside_the_set_is_a_bug() {
        drop(CONNECTIONS.with(["pusher", "pigeon"]));
    }
}
