//! The Prometheus text format, for numbers that are read when somebody asks rather than counted as they come.

use std::fmt::{Display, Write as _};

use crate::catalogue::Metric;

/// A page in the text format, version 0.0.4.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The samples of one metric on the page.
#[derive(Debug)]
pub struct Samples<'a> {
    metric: &'a Metric,
    text: &'a mut String,
}

impl Exposition {
    /// Begins a metric. A page has each metric once.
    pub fn metric<'a>(&'a mut self, metric: &'a Metric) -> Samples<'a> {
        let Metric { name, help, kind, .. } = metric;
        let (text, kind) = (&mut self.text, kind.word());
        write(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Samples { metric, text }
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// Adds a sample with these label values, in the catalogue's order.
    pub fn add(&mut self, labels: &[&str], value: impl Display) -> &mut Self {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{} takes a value for each label", self.metric.name);
        self.text.push_str(self.metric.name);
        for (index, (label, value)) in self.metric.labels.iter().zip(labels).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write(self.text, format_args!("{before}{}=\"{}\"", label.name, escape(value)));
        }
        let behind = if labels.is_empty() { "" } else { "}" };
        write(self.text, format_args!("{behind} {value}\n"));
        self
    }
}

/// What may not stand in a label value as it is.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::app;

    #[test]
    fn a_page() {
        let mut page = Exposition::default();
        page.metric(&app::QUOTA_REJECTED).add(&["1", "channels"], 3).add(&["\"a\\\n", "channels"], u64::MAX);
        page.metric(&app::IN_OTHER).add(&[], 0);
        let (quota, other) = (app::QUOTA_REJECTED.help, app::IN_OTHER.help);
        let expected = format!(
            "# HELP fanfare_app_quota_rejected_total {quota}\n# TYPE fanfare_app_quota_rejected_total counter\n\
             fanfare_app_quota_rejected_total{{app=\"1\",quota=\"channels\"}} 3\n\
             fanfare_app_quota_rejected_total{{app=\"\\\"a\\\\\\n\",quota=\"channels\"}} 18446744073709551615\n\
             # HELP fanfare_apps_in_other {other}\n# TYPE fanfare_apps_in_other gauge\nfanfare_apps_in_other 0\n"
        );
        assert_eq!(page.into_text(), expected);
    }
}
