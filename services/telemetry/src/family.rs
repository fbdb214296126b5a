//! Families: a catalogue row that hands out typed handles, one for each combination of label values.

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata};

use crate::catalogue::{Kind, Label, Metric};

/// What a gauge is set to while it has nothing to say: it is left out of the exposition then, which a sum takes better
/// than a number that stands for nothing.
pub const ABSENT: f64 = f64::NAN;

/// Where handles say they come from; the exporter ignores it.
static METADATA: Metadata<'static> = Metadata::new("fanfare", Level::INFO, None);

macro_rules! family {
    ($(#[$doc:meta])* $Family:ident hands out $Handle:ident by $register:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $Family<const LABELS: usize> {
            metric: Metric,
        }

        impl<const LABELS: usize> $Family<LABELS> {
            pub(crate) const fn new(metric: Metric) -> Self {
                assert!(metric.labels.len() == LABELS, "a family takes one value for each label");
                Self { metric }
            }

            /// The row of the catalogue.
            pub const fn metric(&self) -> &Metric {
                &self.metric
            }

            /// The handle for these label values, in the catalogue's order. Take it once and keep it: this looks up
            /// the recorder, and allocates. Before a recorder is installed it gives a handle that counts nothing.
            pub fn with(&self, values: [&str; LABELS]) -> $Handle {
                let key = key(&self.metric, &values);
                metrics::with_recorder(|recorder| recorder.$register(&key, &METADATA))
            }
        }

        impl $Family<0> {
            /// The handle of a metric without labels. Take it once and keep it.
            pub fn handle(&self) -> $Handle {
                self.with([])
            }
        }
    };
}

family! {
    /// A counter of the catalogue.
    CounterFamily hands out Counter by register_counter
}
family! {
    /// A gauge of the catalogue.
    GaugeFamily hands out Gauge by register_gauge
}
family! {
    /// A histogram of the catalogue.
    HistogramFamily hands out Histogram by register_histogram
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    let label = |(label, value): (&Label, &&str)| {
        debug_assert!(label.values.contains(value), "{value:?} is no {} of {}", label.name, metric.name);
        metrics::Label::new(label.name, (*value).to_owned())
    };
    Key::from_parts(metric.name, metric.labels.iter().zip(values).map(label).collect::<Vec<_>>())
}

impl Metric {
    /// Makes the metric exist in the exposition with these values, at zero.
    #[cfg(test)]
    pub(crate) fn register(&self, values: &[&str]) {
        let key = key(self, values);
        metrics::with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.register_counter(&key, &METADATA).increment(0),
            Kind::Gauge => recorder.register_gauge(&key, &METADATA).set(0.0),
            Kind::Histogram(_) => recorder.register_histogram(&key, &METADATA).record(0.0),
        });
    }

    /// Tells the recorder what the metric means.
    pub(crate) fn describe(&self) {
        let name = metrics::KeyName::from_const_str(self.name);
        metrics::with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.describe_counter(name, None, self.help.into()),
            Kind::Gauge => recorder.describe_gauge(name, None, self.help.into()),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, self.help.into()),
        });
    }
}
