//! `WebhookService`: what webhooks could not be told. The webhooks themselves are settings of their apps.

use std::time::Duration;

use backbone::dead_letters::{DeadLetterError, DeadLetterId, DeadLetters};
use backbone::registry::Registry;
use channels::AppId;
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp};
use crate::apps::{existing, page_size};
use crate::audit::{Intent, Recorder};
use crate::mistakes::Mistakes;
use crate::status::{invalid, within};
use crate::wire as convert;

/// Most ids in one request: as many as a page of a list can hold.
const MAX_IDS: usize = 1_000;

/// Answers calls about webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Webhooks {
    pub(crate) registry: Guarded<Registry>,
    pub(crate) letters: Guarded<DeadLetters>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

/// Which of an app's dead letters a request is about.
enum Which {
    All,
    These(Vec<DeadLetterId>),
}

impl Which {
    fn intent(&self, app: &AppId) -> Intent {
        match self {
            Self::All => Intent::of(app, "all dead letters"),
            Self::These(ids) => Intent::of(app, "dead letters").with_all(ids.iter().map(|id| id.as_str().to_owned())),
        }
    }
}

fn read_which(ids: &[String], all: bool) -> Result<Which, Status> {
    let mut mistakes = Mistakes::default();
    if all != ids.is_empty() {
        mistakes.add("ids", "must name dead letters, unless all of them are meant");
    }
    if ids.len() > MAX_IDS {
        mistakes.add("ids", format!("must not be more than {MAX_IDS}"));
    }
    let read = |(index, id): (usize, &String)| mistakes.keep(format!("ids[{index}]"), DeadLetterId::new(id));
    let these = ids.iter().take(MAX_IDS).enumerate().filter_map(read).collect();
    let which = if all { Which::All } else { Which::These(these) };
    mistakes.unless_any(Some(which)).map_err(invalid)
}

impl Webhooks {
    async fn replay(&self, app: &OfApp, which: Which) -> Result<u64, DeadLetterError> {
        let letters = self.letters.open(app);
        match which {
            Which::All => Ok(letters.replay_all(app).await? as u64),
            Which::These(ids) => {
                let mut replayed = 0;
                for id in ids {
                    replayed += there_was(letters.replay(app, &id).await)?;
                }
                Ok(replayed)
            }
        }
    }

    async fn delete(&self, app: &OfApp, which: Which) -> Result<u64, DeadLetterError> {
        let letters = self.letters.open(app);
        match which {
            Which::All => Ok(letters.delete_all(app).await? as u64),
            Which::These(ids) => {
                let mut deleted = 0;
                for id in ids {
                    deleted += there_was(letters.delete(app, &id).await)?;
                }
                Ok(deleted)
            }
        }
    }
}

/// How many letters, one or none, an operation on one letter was about.
fn there_was(result: Result<(), DeadLetterError>) -> Result<u64, DeadLetterError> {
    match result {
        Ok(()) => Ok(1),
        Err(DeadLetterError::Missing) => Ok(0),
        Err(error @ (DeadLetterError::QueueFull | DeadLetterError::Unavailable)) => Err(error),
    }
}

#[tonic::async_trait]
impl wire::webhook_service_server::WebhookService for Webhooks {
    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Result<Response<wire::ListDeadLettersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ListDeadLettersRequest { app_id, page_size: size, page_token } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let mut mistakes = Mistakes::default();
        let size = page_size(size, &mut mistakes);
        let after = match page_token.as_str() {
            "" => None,
            token => mistakes.keep("page_token", DeadLetterId::new(token).map_err(|_| "is not from an earlier answer")),
        };
        let (after, size) = mistakes.unless_any(Some((after, size))).map_err(invalid)?;
        existing(&self.registry, &app, self.patience).await?;
        let page = within(self.patience, Box::pin(self.letters.open(&app).list(&app, after.as_ref(), size))).await?;
        let dead_letters = page.letters.into_iter().map(|(id, letter)| convert::dead_letter(&id, letter)).collect();
        let next_page_token = page.next.map(|id| id.as_str().to_owned()).unwrap_or_default();
        Ok(Response::new(wire::ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<wire::ReplayDeadLettersRequest>,
    ) -> Result<Response<wire::ReplayDeadLettersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ReplayDeadLettersRequest { app_id, ids, all } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let which = read_which(&ids, all)?;
        let intent = which.intent(&app);
        let work = async {
            existing(&self.registry, &app, self.patience).await?;
            let replayed = within(self.patience, Box::pin(self.replay(&app, which))).await?;
            Ok((wire::ReplayDeadLettersResponse { replayed }, 0))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn delete_dead_letters(
        &self,
        request: Request<wire::DeleteDeadLettersRequest>,
    ) -> Result<Response<wire::DeleteDeadLettersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::DeleteDeadLettersRequest { app_id, ids, all } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let which = read_which(&ids, all)?;
        let intent = which.intent(&app);
        let work = async {
            existing(&self.registry, &app, self.patience).await?;
            let deleted = within(self.patience, Box::pin(self.delete(&app, which))).await?;
            Ok((wire::DeleteDeadLettersResponse { deleted }, 0))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }
}
