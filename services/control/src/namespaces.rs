//! `NamespaceService`: an app's rules for channels, one at a time.

use std::time::Duration;

use backbone::registry::{AppChange, Registry};
use channels::{App, Namespace};
use proto::control as wire;
use tonic::{Code, Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp};
use crate::apps::{existing, read_revision};
use crate::audit::{Intent, Recorder};
use crate::mistakes::Mistakes;
use crate::status::{invalid, refusal, within};
use crate::update::edit;
use crate::{check, wire as convert};

/// Answers calls about namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    pub(crate) registry: Guarded<Registry>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

fn read_rule(rule: Option<wire::Namespace>) -> Result<Namespace, Status> {
    let mut mistakes = Mistakes::default();
    if rule.is_none() {
        mistakes.add("namespace", "must be given");
    }
    let rule = rule.and_then(|rule| convert::read_namespace(rule, |field| format!("namespace.{field}"), &mut mistakes));
    mistakes.unless_any(rule).map_err(invalid)
}

/// The change that leaves an app with `rules`.
fn change(rules: Vec<Namespace>) -> check::Checked<AppChange> {
    Ok(AppChange { namespaces: Some(check::namespaces(rules)?), ..AppChange::default() })
}

#[tonic::async_trait]
impl wire::namespace_service_server::NamespaceService for Namespaces {
    async fn list_namespaces(
        &self,
        request: Request<wire::ListNamespacesRequest>,
    ) -> Result<Response<wire::ListNamespacesResponse>, Status> {
        let id = Caller::of(&request)?.app("app_id", &request.get_ref().app_id)?;
        let app = existing(&self.registry, &id, self.patience).await?;
        Ok(Response::new(wire::ListNamespacesResponse { namespaces: convert::app(&app).namespaces }))
    }

    async fn set_namespace(&self, request: Request<wire::SetNamespaceRequest>) -> Result<Response<wire::App>, Status> {
        let caller = Caller::of(&request)?;
        let wire::SetNamespaceRequest { app_id, namespace, revision } = request.into_inner();
        let id = caller.app("app_id", &app_id)?;
        let rule = read_rule(namespace)?;
        let shown = proto::json::to_string(&convert::namespace(&rule));
        let intent = Intent::of(&id, format!("namespace {:?}", rule.prefix)).with(shown);
        let with = |app: &App| {
            let others = app.namespaces.iter().filter(|other| other.prefix != rule.prefix);
            let rules = others.chain([&rule]).cloned().collect();
            change(rules).map_err(|problem| invalid(vec![("namespace", problem).into()]))
        };
        self.edit(&caller, &id, intent, read_revision(revision), with).await
    }

    async fn delete_namespace(
        &self,
        request: Request<wire::DeleteNamespaceRequest>,
    ) -> Result<Response<wire::App>, Status> {
        let caller = Caller::of(&request)?;
        let wire::DeleteNamespaceRequest { app_id, prefix, revision } = request.into_inner();
        let id = caller.app("app_id", &app_id)?;
        let prefix = check::channel_prefix(&prefix).map_err(|problem| invalid(vec![("prefix", problem).into()]))?;
        let intent = Intent::of(&id, format!("namespace {prefix:?}"));
        let without = |app: &App| {
            let rules: Vec<_> = app.namespaces.iter().filter(|rule| rule.prefix != prefix).cloned().collect();
            if rules.len() == app.namespaces.iter().count() {
                let message = format!("app {} has no namespace {prefix:?}", app.id);
                return Err(refusal(Code::NotFound, "NO_SUCH_NAMESPACE", message));
            }
            change(rules).map_err(|problem| invalid(vec![("prefix", problem).into()]))
        };
        self.edit(&caller, &id, intent, read_revision(revision), without).await
    }
}

impl Namespaces {
    async fn edit(
        &self,
        caller: &Caller,
        id: &OfApp,
        intent: Intent,
        revision: Option<u64>,
        change: impl Fn(&App) -> Result<AppChange, Status> + Send + Sync,
    ) -> Result<Response<wire::App>, Status> {
        let work = async {
            let app = within(self.patience, edit(self.registry.open(id), id, revision, change)).await?;
            Ok((convert::app(&app), app.revision))
        };
        self.recorder.record(caller, intent, work).await.map(Response::new)
    }
}
