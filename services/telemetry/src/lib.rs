//! What an operator sees of a running process: metrics, traces, logs, readiness, and the admin listener.
//!
//! Every metric of the product is a row of one table, [`metrics`]; a crate that feeds one takes its handle from there
//! once and keeps it, so that names, labels and buckets stand in one place and the hot path never formats a name.
//!
//! This crate knows no protocol and no backbone: parts tell it whether they are ready and why not, and what they
//! counted. It decides nothing about clients.

pub mod admin;
mod catalogue;
mod certificate;
mod exposition;
mod family;
mod logging;
pub mod metrics;
mod process;
mod readiness;
mod recorder;
mod repeats;
mod runtime;
pub mod trace;

pub use ::metrics::{Counter, Gauge, Histogram};

pub use crate::catalogue::{Kind, Label, Metric, Values};
pub use crate::certificate::CertificateExpiry;
pub use crate::exposition::{Exposition, Samples};
pub use crate::family::{ABSENT, CounterFamily, GaugeFamily, HistogramFamily};
pub use crate::logging::{Format, InvalidFilter, LogFilter, StartLoggingError, start_logging};
pub use crate::process::Resources;
pub use crate::readiness::{Check, CheckReport, Readiness, Report, State};
pub use crate::recorder::{Exporter, InstallError};
pub use crate::runtime::watch_runtime;
