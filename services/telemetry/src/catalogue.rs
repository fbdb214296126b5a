//! What a row of the metric catalogue says.

/// A metric as operators know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The full name in the exposition.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// The base unit in words, as in "seconds"; what is counted, if it counts.
    pub unit: &'static str,
    /// Its labels, in the order in which a family takes their values.
    pub labels: &'static [Label],
    /// The question it answers.
    pub help: &'static str,
}

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, and starts again at 0 with the process.
    Counter,
    /// A value of now.
    Gauge,
    /// Observations sorted into buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word of the exposition format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A label and the values it can have. The set is closed: a value that comes from a client would let clients fill the
/// memory of every monitoring system downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The label's name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// The values of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A closed set that another crate owns, in words.
    Described(&'static str),
}

impl Values {
    /// Whether `value` may appear. A described set is not known here, so everything may.
    pub fn contains(self, value: &str) -> bool {
        match self {
            Self::OneOf(values) => values.contains(&value),
            Self::Described(_) => true,
        }
    }
}
