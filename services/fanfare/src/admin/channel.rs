//! `fanfare admin channel …`

use clap::Subcommand;
use proto::control as wire;
use proto::control::channel_service_client::ChannelServiceClient;

use super::client::{MAX_ANSWER_BYTES, Way};
use super::table::{details, list as table, or_dash};
use super::{Answer, Failure, app_text, moment, pages};

/// Messages asked for at one time: with the largest data there may be, they fit into an answer.
const HISTORY_PAGE: u32 = 100;

/// How much of a message's data is shown to people.
const SHOWN_CHARS: usize = 60;

/// What can be asked about channels.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the occupied channels of an app
    List {
        /// The app's id
        app: String,
        /// Only those whose names start so
        #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
        prefix: String,
        /// Show no more than this
        #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
        most: u32,
    },
    /// Show a channel, occupied or not
    Info {
        /// The app's id
        app: String,
        /// The channel's name
        name: String,
    },
    /// Show stored messages of a channel, newest first
    History {
        /// The app's id
        app: String,
        /// The channel's name
        name: String,
        /// Oldest first
        #[arg(long)]
        forwards: bool,
        /// Show no more than this
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        most: u32,
    },
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let mut client = ChannelServiceClient::new(way.open().await?).max_decoding_message_size(MAX_ANSWER_BYTES);
        match self {
            Self::List { app, prefix, most } => {
                let mut unreached = Vec::new();
                let page = async |page_size, page_token| {
                    let (app_id, prefix) = (app.clone(), prefix.clone());
                    let request = wire::ListChannelsRequest { app_id, page_size, page_token, prefix };
                    let page = client.list_channels(request).await?.into_inner();
                    unreached.extend(page.unreached);
                    Ok((page.channels, page.next_page_token))
                };
                let (channels, next_page_token) = pages::all(Some(most), page).await?;
                pages::once_each(&mut unreached);
                let answer = wire::ListChannelsResponse { channels, next_page_token, unreached };
                Ok(Answer::new(&answer, list(&answer)))
            }
            Self::Info { app: app_id, name } => {
                let channel = client.get_channel(wire::GetChannelRequest { app_id, name }).await?.into_inner();
                Ok(Answer::new(&channel, one(&channel)))
            }
            Self::History { app, name, forwards, most } => {
                let page = async |page_size: u32, page_token| {
                    let (app_id, name, page_size) = (app.clone(), name.clone(), page_size.min(HISTORY_PAGE));
                    let request = wire::ReadHistoryRequest { app_id, name, page_size, page_token, forwards };
                    let page = client.read_history(request).await?.into_inner();
                    Ok((page.messages, page.next_page_token))
                };
                let (messages, next_page_token) = pages::all(Some(most), page).await?;
                let text = history(&messages);
                Ok(Answer::new(&wire::ReadHistoryResponse { messages, next_page_token }, text))
            }
        }
    }
}

fn list(answer: &wire::ListChannelsResponse) -> String {
    let rows = answer.channels.iter().map(|channel| {
        [
            channel.name.clone(),
            channel.subscriptions.to_string(),
            channel.users.to_string(),
            app_text::tier(channel.tier(), 0),
            or_dash(channel.namespace()),
        ]
    });
    let mut text = table(["NAME", "SUBSCRIPTIONS", "USERS", "TIER", "NAMESPACE"], rows);
    text.push_str(&pages::remark(&answer.next_page_token, &answer.unreached));
    text
}

fn one(channel: &wire::Channel) -> String {
    details([
        ("name", channel.name.clone()),
        ("subscriptions", channel.subscriptions.to_string()),
        ("users", channel.users.to_string()),
        ("tier", app_text::tier(channel.tier(), 0)),
        ("namespace", or_dash(channel.namespace())),
        ("position", or_dash(&channel.position)),
    ])
}

fn history(messages: &[wire::HistoryMessage]) -> String {
    let rows = messages.iter().map(|message| {
        let text = String::from_utf8_lossy(&message.data);
        let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
        if text.chars().count() > SHOWN_CHARS {
            shown.push('…');
        }
        [message.position.clone(), moment::show(message.time_ms), message.name.clone(), message.encoding.clone(), shown]
    });
    table(["POSITION", "TIME", "EVENT", "ENCODING", "DATA"], rows)
}
