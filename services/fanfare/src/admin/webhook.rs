//! `fanfare admin webhook …`. The webhooks themselves are set with the app's other settings.

use clap::{Args, Subcommand};
use proto::control as wire;
use proto::control::webhook_service_client::WebhookServiceClient;

use super::client::Way;
use super::table::list as table;
use super::{Answer, Failure, app, app_text, pages};

/// What can be done with webhooks. `fanfare admin app update` sets them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the webhooks of an app
    List {
        /// The app's id
        app: String,
    },
    /// List the events that could not be delivered, oldest first
    DeadLetters {
        /// The app's id
        app: String,
        /// Show no more than this
        #[arg(long, value_name = "NUMBER")]
        most: Option<u32>,
    },
    /// Try to deliver dead letters again
    Replay(Which),
    /// Forget dead letters
    Delete(Which),
}

/// Some of an app's dead letters.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The app's id
    app: String,
    /// Ids of dead letters
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All of the app's dead letters
    #[arg(long)]
    all: bool,
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let connection = way.open().await?;
        let mut client = WebhookServiceClient::new(connection.clone());
        match self {
            Self::List { app: id } => {
                let app = app::client(connection).get_app(wire::GetAppRequest { id }).await?.into_inner();
                // The part of an app that was asked for, in the app's own form.
                let text = app_text::webhooks(&app.webhooks);
                Ok(Answer::part(&app, "webhooks", text))
            }
            Self::DeadLetters { app: app_id, most } => {
                let page = async |page_size, page_token| {
                    let request = wire::ListDeadLettersRequest { app_id: app_id.clone(), page_size, page_token };
                    let page = client.list_dead_letters(request).await?.into_inner();
                    Ok((page.dead_letters, page.next_page_token))
                };
                let (dead_letters, next_page_token) = pages::all(most, page).await?;
                let text = dead_letter_list(&dead_letters);
                Ok(Answer::new(&wire::ListDeadLettersResponse { dead_letters, next_page_token }, text))
            }
            Self::Replay(Which { app: app_id, ids, all }) => {
                let request = wire::ReplayDeadLettersRequest { app_id, ids, all };
                let answer = client.replay_dead_letters(request).await?.into_inner();
                Ok(Answer::new(&answer, format!("back in the queue: {}\n", answer.replayed)))
            }
            Self::Delete(Which { app: app_id, ids, all }) => {
                let request = wire::DeleteDeadLettersRequest { app_id, ids, all };
                let answer = client.delete_dead_letters(request).await?.into_inner();
                Ok(Answer::new(&answer, format!("deleted: {}\n", answer.deleted)))
            }
        }
    }
}

fn dead_letter_list(letters: &[wire::DeadLetter]) -> String {
    let rows = letters.iter().map(|letter| {
        let wire::DeadLetter { id, webhook_id, event, channel, user_id, attempts, reason, .. } = letter.clone();
        [id, webhook_id, event, channel, user_id, attempts.to_string(), reason]
    });
    table(["ID", "WEBHOOK", "EVENT", "CHANNEL", "USER", "ATTEMPTS", "REASON"], rows)
}
