//! `fanfare admin webhook …`. The webhooks themselves are set with the app's other settings.

use clap::{Args, Subcommand};
use proto::control as wire;
use proto::control::app_service_client::AppServiceClient;
use proto::control::webhook_service_client::WebhookServiceClient;

use super::client::Connection;
use super::{Answer, Failure};

/// Dead letters asked for at one time; the server's most.
const PAGE_SIZE: u32 = 1_000;

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

pub(super) async fn send(command: Command, connection: Connection) -> Result<Answer, Failure> {
    let mut client = WebhookServiceClient::new(connection.clone());
    match command {
        Command::List { app: id } => {
            let app = AppServiceClient::new(connection).get_app(wire::GetAppRequest { id }).await?;
            Ok(Answer::Webhooks(app.into_inner().webhooks))
        }
        Command::DeadLetters { app } => dead_letters(client, app).await,
        Command::Replay(Which { app: app_id, ids, all }) => {
            let request = wire::ReplayDeadLettersRequest { app_id, ids, all };
            Ok(Answer::Replayed(client.replay_dead_letters(request).await?.into_inner()))
        }
        Command::Delete(Which { app: app_id, ids, all }) => {
            let request = wire::DeleteDeadLettersRequest { app_id, ids, all };
            Ok(Answer::Forgotten(client.delete_dead_letters(request).await?.into_inner()))
        }
    }
}

async fn dead_letters(mut client: WebhookServiceClient<Connection>, app_id: String) -> Result<Answer, Failure> {
    let mut letters = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListDeadLettersRequest { app_id: app_id.clone(), page_size: PAGE_SIZE, page_token };
        let page = client.list_dead_letters(request).await?.into_inner();
        letters.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Answer::DeadLetters(letters));
        }
    }
}
