//! The sessions of the HTTP fallback on this node: how a request finds the task of its session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use channels::KeyName;
use parking_lot::Mutex;
use pusher::xhr::SessionName;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::answer::Answer;

/// Receiving requests that wait to be looked at; the task does so at once.
const ASKING: usize = 2;

/// Sends that wait while a client event is being published. Further ones wait with their answer, which holds back who
/// waits for answers.
const SENDING: usize = 4;

/// What a session is known by: names are made up by clients, so each key has its own.
pub(super) type Name = (KeyName, SessionName);

/// What a client handed in.
#[derive(Debug)]
pub(crate) enum Sent {
    /// These frames; none is a sign of life.
    Frames(Vec<String>),
    /// A frame over the limit.
    TooLarge,
}

/// How requests reach a session's task.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Takes answers to be written.
    pub(super) asking: mpsc::Sender<Answer>,
    /// Takes what the client sends.
    pub(crate) sending: mpsc::Sender<Sent>,
}

/// The task's end of [`Session`].
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) asking: mpsc::Receiver<Answer>,
    pub(super) sending: mpsc::Receiver<Sent>,
}

/// The table. It holds sessions of admitted connections only, which is what bounds it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<Name, Session>>,
    /// The tasks of the sessions, as far as their end is waited for.
    pub(super) tasks: TaskTracker,
}

/// A session's place in the table, given back by dropping it.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    name: Name,
}

impl Sessions {
    /// The session called `name`.
    pub(crate) fn find(&self, name: &Name) -> Option<Session> {
        self.open.lock().get(name).cloned()
    }

    /// Makes the session called `name`, unless there is one.
    pub(super) fn enter(self: &Arc<Self>, name: Name) -> Option<(Place, Requests)> {
        match self.open.lock().entry(name.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                let (asking, asked) = mpsc::channel(ASKING);
                let (sending, sent) = mpsc::channel(SENDING);
                entry.insert(Session { asking, sending });
                let place = Place { sessions: Arc::clone(self), name };
                Some((place, Requests { asking: asked, sending: sent }))
            }
        }
    }

    /// Whether there are any.
    pub(crate) fn are_open(&self) -> bool {
        !self.open.lock().is_empty()
    }

    /// Waits until the last session has ended, when no new one is admitted any more.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.name);
    }
}
