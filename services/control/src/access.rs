//! Who calls, and what they may.
//!
//! Owns the way from a connection and its headers to a [`Caller`] (`layer`, `certificate`), what each method needs
//! (`rules`), and the proofs that a caller's scope was held against the app that a request is about. Deliberately knows
//! nothing of what the methods do.
//!
//! It fails closed in three places: a method that is not in the rules is refused, a caller without a grant is, and what
//! services answer from is [`Guarded`], which is only opened with a proof that comes from a check.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use backbone::access::{Role, Scope};
use channels::AppId;
use tonic::{Code, Request, Status};

use crate::Mistake;
use crate::status::{invalid, refusal};

mod certificate;
mod layer;
mod rules;

pub(crate) use layer::{AccessLayer, Doors};

/// Who makes a call, as the checks in front of the services found.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// For the audit log, and what idempotency keys belong to: the same for the same credential.
    actor: Arc<str>,
    grant: Grant,
    /// As in `AppService.UpdateApp`.
    method: Arc<str>,
    /// Where the call came from.
    peer: Arc<str>,
}

/// What a caller may.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    /// What an admin or reader of the cluster or of one app may.
    Scope(Scope),
    /// What a node of the cluster may.
    Node,
}

impl Caller {
    /// The caller of `request`. Without one, the request has come past the checks and is refused.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        match request.extensions().get::<Self>() {
            Some(caller) => Ok(caller.clone()),
            None => Err(refusal(Code::Internal, "UNCHECKED", "the call was not checked")),
        }
    }

    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// The one app that the caller is for, if it is not for the cluster.
    pub(crate) fn only(&self) -> Option<&AppId> {
        match &self.grant {
            Grant::Scope(scope) => scope.app.as_ref(),
            Grant::Node => None,
        }
    }

    /// The app id in the field `field`, if the caller is for that app or for the cluster.
    pub(crate) fn app(&self, field: &str, id: &str) -> Result<OfApp, Status> {
        let id = AppId::new(id)
            .map_err(|error| invalid(vec![Mistake { place: field.to_owned(), problem: error.to_string() }]))?;
        self.owns(id)
    }

    /// That the caller is for `id` or for the cluster.
    pub(crate) fn owns(&self, id: AppId) -> Result<OfApp, Status> {
        match &self.grant {
            Grant::Scope(Scope { app: None, .. }) => Ok(OfApp(id)),
            Grant::Scope(Scope { app: Some(own), .. }) if *own == id => Ok(OfApp(id)),
            Grant::Scope(_) | Grant::Node => Err(self.denied(&format!("not for app {id}"))),
        }
    }

    /// That the caller is for the whole cluster.
    pub(crate) fn cluster(&self) -> Result<OfCluster, Status> {
        match &self.grant {
            Grant::Scope(Scope { app: None, .. }) => Ok(OfCluster(())),
            Grant::Scope(Scope { app: Some(_), .. }) | Grant::Node => Err(self.denied("not for the whole cluster")),
        }
    }

    /// That what is answered is only what the caller may see: everything, or what concerns its app.
    pub(crate) fn sight(&self) -> Result<Sight, Status> {
        match &self.grant {
            Grant::Scope(scope) => Ok(Sight(scope.app.clone())),
            Grant::Node => Err(self.denied("for a node only")),
        }
    }

    fn may_change(&self) -> bool {
        matches!(&self.grant, Grant::Scope(Scope { role: Role::Admin, .. }))
    }

    fn denied(&self, why: &str) -> Status {
        refusal(Code::PermissionDenied, "SCOPE", format!("{} is {why}", self.actor))
    }
}

/// Proof that a caller may ask about this app.
#[derive(Debug)]
pub(crate) struct OfApp(AppId);

/// Proof that a caller may ask about the whole cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfCluster(());

/// What a caller is told of where no app is named: one app, or everything.
#[derive(Clone, Debug)]
pub(crate) struct Sight(Option<AppId>);

impl Deref for OfApp {
    type Target = AppId;

    fn deref(&self) -> &AppId {
        &self.0
    }
}

impl OfApp {
    /// The app's id, for keeps.
    pub(crate) fn id(&self) -> AppId {
        self.0.clone()
    }
}

impl fmt::Display for OfApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Sight {
    /// The one app; `None` for everything.
    pub(crate) fn only(&self) -> Option<&AppId> {
        self.0.as_ref()
    }
}

/// What comes from a check of the caller's scope, and from nowhere else.
pub(crate) trait Proof {}
impl Proof for OfApp {}
impl Proof for OfCluster {}
impl Proof for Sight {}

/// What a service answers from. Cannot be reached before the caller's scope has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<T>(T);

impl<T> Guarded<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(inner)
    }

    pub(crate) fn open(&self, _: &impl Proof) -> &T {
        &self.0
    }
}
