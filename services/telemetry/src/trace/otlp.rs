//! The way to the collector: spans in batches, as OTLP over gRPC has them.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::Counter;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use super::Config;
use super::span::{Kind, Recorded, Value};
use crate::metrics::TRACE_SPANS;

/// Most spans in a request.
const BATCH: usize = 512;

/// How long spans are gathered for one.
const GATHER: Duration = Duration::from_secs(1);

/// How long the collector may take to accept the connection, the same again for TLS, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often one batch is tried, and the first pause between; it doubles. Together below half a minute: what is older is
/// worth less than the room for what comes.
const TRIES: u32 = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How long what is left may take at the end.
const LAST_BATCHES: Duration = Duration::from_secs(3);

/// Why there is no way to the collector.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL or the certificates are of no use.
    #[error("traces cannot be sent to that endpoint")]
    Endpoint(#[from] tonic::transport::Error),
    /// A header is none of HTTP/2.
    #[error("{0:?} cannot be sent as a header")]
    Header(String),
    /// The file of authorities cannot be read.
    #[error("cannot read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is on.
    #[error("tracing was already started in this process")]
    AlreadyStarted,
}

/// Takes spans to the collector.
#[derive(Debug)]
pub struct Exporter {
    spans: Receiver<Box<Recorded>>,
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
    resource: Resource,
    exported: Counter,
    failed: Counter,
    /// Whether the last batch failed, so that an outage is told once.
    is_failing: bool,
}

impl Exporter {
    /// Must be called in a runtime. Does not wait for the collector to be there.
    pub(super) fn new(config: &Config, spans: Receiver<Box<Recorded>>) -> Result<Self, StartError> {
        let mut endpoint = Endpoint::from_shared(config.endpoint.clone())?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .tcp_nodelay(true);
        if endpoint.uri().scheme_str() == Some("https") {
            let tls = match &config.ca_file {
                None => ClientTlsConfig::new().with_native_roots(),
                Some(file) => {
                    let pem = std::fs::read(file).map_err(|source| StartError::File { file: file.clone(), source })?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
            };
            // That of the connection ends with TCP, that of the request begins behind TLS.
            endpoint = endpoint.tls_config(tls.timeout(CONNECT_TIMEOUT))?;
        }
        Ok(Self {
            spans,
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            headers: headers(&config.headers)?,
            resource: Resource {
                attributes: config.resource.iter().map(|(name, value)| key_value(name, text(value))).collect(),
                ..Resource::default()
            },
            exported: TRACE_SPANS.with(["exported"]),
            failed: TRACE_SPANS.with(["failed"]),
            is_failing: false,
        })
    }

    /// Exports until `stop`, and then what is left, if that does not take long.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            () = &mut stop => {}
            () = self.export(&mut batch) => {}
        }
        // Whoever still has spans is refused, and what is here is all there is.
        self.spans.close();
        let left = batch.len() + self.spans.len();
        let flush = async {
            // What was under way was not answered: it is sent again, and the collector knows spans by their ids.
            while !batch.is_empty() || self.spans.recv_many(&mut batch, BATCH).await > 0 {
                self.send(&mut batch).await;
            }
        };
        if timeout(LAST_BATCHES, flush).await.is_err() {
            tracing::debug!(left, "the last spans were not all taken by the collector in time");
            self.failed.increment((batch.len() + self.spans.len()) as u64);
        }
    }

    #[expect(clippy::vec_box, reason = "that is how they come out of the queue")]
    async fn export(&mut self, batch: &mut Vec<Box<Recorded>>) {
        // Filled here and not in a variable of its own, so that what is gathered is not lost when this is dropped.
        while self.spans.recv_many(batch, BATCH).await > 0 {
            let gather = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if self.spans.recv_many(batch, room).await == 0 {
                        return;
                    }
                }
            };
            // In time or not, this is the batch.
            timeout(GATHER, gather).await.ok();
            self.send(batch).await;
        }
    }

    /// Sends `batch` and empties it, whatever becomes of it.
    #[expect(clippy::vec_box, reason = "that is how they come out of the queue")]
    async fn send(&mut self, batch: &mut Vec<Box<Recorded>>) {
        let request = ExportTraceServiceRequest { resource_spans: vec![self.resource_spans(batch)] };
        let mut pause = RETRY_PAUSE;
        let mut tries = 1;
        let result = loop {
            let mut attempt = Request::new(request.clone());
            attempt.metadata_mut().clone_from(&self.headers);
            match self.client.export(attempt).await {
                Err(error) if tries < TRIES && is_passing(error.code()) => {}
                result => break result,
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            (pause, tries) = (pause * 2, tries + 1);
        };
        let sent = batch.len() as u64;
        batch.clear();
        match result {
            Ok(answer) => {
                let rejected = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                let rejected = u64::try_from(rejected).unwrap_or_default().min(sent);
                self.exported.increment(sent - rejected);
                self.failed.increment(rejected);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(error) => {
                self.failed.increment(sent);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let (code, error) = (i32::from(error.code()), error.message());
                    tracing::warn!(code, error, "the collector does not take traces; they are dropped until it does");
                }
            }
        }
    }

    fn resource_spans(&self, batch: &[Box<Recorded>]) -> ResourceSpans {
        let scope = InstrumentationScope { name: "fanfare".to_owned(), ..InstrumentationScope::default() };
        let spans = batch.iter().map(|span| span_of(span)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        ResourceSpans { resource: Some(self.resource.clone()), scope_spans, ..ResourceSpans::default() }
    }
}

/// Whether trying again may help, as the OTLP specification lists it. "Resource exhausted" does not: without word of when
/// there will be room, more of the same makes it worse.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn headers(given: &[(String, String)]) -> Result<MetadataMap, StartError> {
    let mut headers = MetadataMap::new();
    for (name, value) in given {
        // The value may be secret and is not told.
        let invalid = || StartError::Header(name.clone());
        let key: MetadataKey<Ascii> = name.to_ascii_lowercase().parse().map_err(|_| invalid())?;
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

fn span_of(span: &Recorded) -> Span {
    let at = |when: Instant| nanoseconds(span.ended_at, span.ended.saturating_duration_since(when));
    let kind = match span.kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
        Kind::Producer => span::SpanKind::Producer,
        Kind::Consumer => span::SpanKind::Consumer,
    };
    let event = |event: &super::span::Event| span::Event {
        time_unix_nano: at(event.at),
        name: event.name.to_owned(),
        attributes: attributes(&event.attributes),
        dropped_attributes_count: 0,
    };
    let failed = |message: &String| Status { message: message.clone(), code: status::StatusCode::Error.into() };
    Span {
        trace_id: span.context.trace.to_be_bytes().to_vec(),
        span_id: span.context.span.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        // Sampled, in the flags of W3C.
        flags: 1,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: at(span.begun),
        end_time_unix_nano: at(span.ended),
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(event).collect(),
        dropped_events_count: span.left_out_events,
        status: span.failure.as_ref().map(failed),
        ..Span::default()
    }
}

/// `before` this time, in nanoseconds since the Unix epoch.
fn nanoseconds(time: SystemTime, before: Duration) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(before);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attributes(given: &[(&'static str, Value)]) -> Vec<KeyValue> {
    let value = |value: &Value| match value {
        Value::Text(given) => text(given),
        Value::Number(number) => any_value::Value::IntValue(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Switch(switch) => any_value::Value::BoolValue(*switch),
    };
    given.iter().map(|(name, given)| key_value(name, value(given))).collect()
}

fn text(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

fn key_value(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::net::TcpListener;

    use super::*;
    use crate::Exporter as Metrics;
    use crate::trace::queue::Queue;
    use crate::trace::span;

    /// A balancer whose collectors are away takes connections and says nothing: a handshake of TLS never ends by itself.
    #[tokio::test(start_paused = true)]
    async fn a_deaf_collector_behind_tls_is_given_up() {
        let (recorder, metrics) = Metrics::build().unwrap();
        let _recording = ::metrics::set_default_local_recorder(&recorder);
        let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        ca_file.write_all(made.cert.pem().as_bytes()).unwrap();
        let config = Config {
            endpoint: format!("https://localhost:{}", deaf.local_addr().unwrap().port()),
            ca_file: Some(ca_file.path().to_owned()),
            headers: Vec::new(),
            sample_ratio: 1.0,
            max_per_second: 1,
            resource: Vec::new(),
        };
        let (queue, spans) = Queue::new();
        let exporter = Exporter::new(&config, spans).unwrap();
        drop(span::Span::begin(queue.clone(), ("publish", Kind::Server), 1, None, Instant::now()));
        let given_up = async {
            while !metrics.render().contains("fanfare_trace_spans_total{result=\"failed\"} 1") {
                sleep(Duration::from_millis(100)).await;
            }
        };
        // The kernel takes connections; nobody reads them.
        tokio::select! {
            () = exporter.run(std::future::pending()) => panic!("it ended"),
            result = timeout(Duration::from_secs(60), given_up) => result.expect("given up within a minute"),
        }
    }
}
