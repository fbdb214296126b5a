//! A collector of traces, by the official definitions of OTLP.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use parking_lot::Mutex;
use testkit::eventually;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span, and who sent it.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) node: String,
    pub(crate) span: otlp::Span,
}

impl Collected {
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// An attribute as text; empty if it has none of this name.
    pub(crate) fn attribute(&self, name: &str) -> String {
        value(&self.span.attributes, name)
    }
}

/// A running collector; it ends when this is dropped.
pub(crate) struct Collector {
    requests: Requests,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Requests {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one on a port; 0 for any.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Requests::default());
        let service = TraceServiceServer::new(requests.clone());
        let serve = tonic::transport::Server::builder().add_service(service);
        let serve = serve.serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move { serve.await.unwrap() });
        Self { requests, address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was sent, in a form in which no text of it is hidden.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.requests.0.lock())
    }

    /// Every span by now.
    pub(crate) fn spans(&self) -> Vec<Collected> {
        let requests = self.requests.0.lock();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|resource| {
            let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice());
            let node = value(attributes.unwrap_or_default(), "service.instance.id");
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| Collected { node: node.clone(), span: span.clone() })
        });
        spans.collect()
    }

    /// Waits until there are `count` spans of this name in a trace.
    pub(crate) async fn wait_for(&self, trace: &str, name: &str, count: usize) -> Vec<Collected> {
        eventually(&format!("{count} spans {name:?} of {trace}"), || async {
            let spans = self.spans().into_iter().filter(|each| each.trace() == trace && each.span.name == name);
            let spans: Vec<_> = spans.collect();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn value(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|each| each.key == name).and_then(|each| each.value.clone()?.value);
    match found {
        None => String::new(),
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(switch)) => switch.to_string(),
        Some(other) => panic!("{name} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
