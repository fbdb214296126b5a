//! `fanfare admin connection …`

use clap::Subcommand;
use proto::control as wire;
use proto::control::connection_service_client::ConnectionServiceClient;

use super::client::Way;
use super::table::{bytes, details, list as table, or_dash};
use super::{Answer, Failure, moment, pages};

/// What can be done with connections.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the connections of an app, on all nodes
    List {
        /// The app's id
        app: String,
        /// Only those of this signed-in user or presence member
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// Only those subscribed to this channel
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Show no more than this
        #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
        most: u32,
    },
    /// Show a connection with its channels
    Get {
        /// The app's id
        app: String,
        /// The connection's id: a socket id such as 1234.5678
        id: String,
    },
    /// Close a connection; its client comes back
    Close {
        /// The app's id
        app: String,
        /// The connection's id: a socket id such as 1234.5678
        id: String,
        /// Tell the client not to come back
        #[arg(long = "final")]
        is_final: bool,
    },
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let mut client = ConnectionServiceClient::new(way.open().await?);
        match self {
            Self::List { app, user, channel, most } => {
                let mut unreached = Vec::new();
                let page = async |page_size, page_token| {
                    let request = wire::ListConnectionsRequest {
                        app_id: app.clone(),
                        page_size,
                        page_token,
                        user_id: user.clone().unwrap_or_default(),
                        channel: channel.clone().unwrap_or_default(),
                    };
                    let page = client.list_connections(request).await?.into_inner();
                    unreached.extend(page.unreached);
                    Ok((page.connections, page.next_page_token))
                };
                let (connections, next_page_token) = pages::all(Some(most), page).await?;
                pages::once_each(&mut unreached);
                let answer = wire::ListConnectionsResponse { connections, next_page_token, unreached };
                Ok(Answer::new(&answer, list(&answer)))
            }
            Self::Get { app: app_id, id } => {
                let request = wire::GetConnectionRequest { app_id, id };
                let connection = client.get_connection(request).await?.into_inner();
                Ok(Answer::new(&connection, one(&connection)))
            }
            Self::Close { app: app_id, id, is_final } => {
                let request = wire::CloseConnectionRequest { app_id, id, r#final: is_final };
                let closed = client.close_connection(request).await?.into_inner();
                Ok(Answer::new(&closed, "closed\n"))
            }
        }
    }
}

fn list(answer: &wire::ListConnectionsResponse) -> String {
    let now_ms = clock::unix_ms();
    let rows = answer.connections.iter().map(|connection| {
        [
            connection.id.clone(),
            connection.node.clone(),
            format!("{}/{}", connection.protocol, connection.transport),
            connection.key.clone(),
            or_dash(&connection.user_id),
            moment::show_age(now_ms.saturating_sub(connection.connected_ms)),
            connection.address.clone(),
            connection.subscriptions.to_string(),
        ]
    });
    let mut text = table(["ID", "NODE", "PROTOCOL", "KEY", "USER", "AGE", "ADDRESS", "CHANNELS"], rows);
    text.push_str(&pages::remark(&answer.next_page_token, &answer.unreached));
    text
}

fn one(connection: &wire::Connection) -> String {
    let mut rows = vec![
        ("id", connection.id.clone()),
        ("node", connection.node.clone()),
        ("protocol", format!("{}/{}", connection.protocol, connection.transport)),
        ("key", connection.key.clone()),
        ("user", or_dash(&connection.user_id)),
        ("since", moment::show(connection.connected_ms)),
        ("address", connection.address.clone()),
        ("waiting", bytes(connection.queued_bytes)),
        ("subscriptions", connection.subscriptions.to_string()),
    ];
    rows.extend(connection.channels.iter().map(|channel| ("channel", channel.clone())));
    details(rows)
}
