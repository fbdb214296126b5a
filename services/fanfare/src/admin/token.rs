//! `fanfare admin token …`: tokens of those who administer the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use proto::control as wire;
use proto::control::access_service_client::AccessServiceClient;

use super::client::Way;
use super::table::{details, list as table};
use super::{Answer, Failure, moment, pages, saved};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token and print it, this once
    Create {
        /// A name for people, as in "deploy pipeline"
        #[arg(long)]
        name: String,
        /// What its bearer may do
        #[arg(long, value_enum)]
        role: Role,
        /// Only with this app [default: with the whole cluster]
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        app: String,
        /// How long it is good, as in 90d [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
        lifetime: Option<Duration>,
        /// Where to write it, a new file that only its owner reads, instead of showing it
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// A text of your own that makes it safe to run the same command again: within 24 hours it creates nothing anew
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        idempotency_key: String,
    },
    /// List all tokens, oldest first, without their texts
    List,
    /// Give a token a new text and print it, this once; the old one stays good for a while
    Rotate {
        /// The token's id
        id: String,
        /// How long the old text stays good; 0s ends it at once, as for one that got known
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::config::duration)]
        overlap: Duration,
        /// Where to write it, a new file that only its owner reads, instead of showing it
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// End a token
    Revoke {
        /// The token's id
        id: String,
    },
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    /// Everything
    Admin,
    /// Nothing that changes anything, and no secrets
    Reader,
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        match self {
            Self::Create { name, role, app: app_id, lifetime, save, idempotency_key } => {
                saved::check(save.as_deref())?;
                let role = match role {
                    Role::Admin => wire::Role::Admin,
                    Role::Reader => wire::Role::Reader,
                };
                let request = wire::CreateTokenRequest {
                    name,
                    scope: Some(wire::Scope { role: role.into(), app_id }),
                    lifetime_seconds: lifetime.map_or(0, |lifetime| lifetime.as_secs()),
                    idempotency_key,
                };
                let mut created = AccessServiceClient::new(way.open().await?).create_token(request).await?.into_inner();
                let place = saved::keep(save.as_deref(), &mut created.text)?;
                let text = shown_once(created.token.as_ref(), &created.text, &place);
                Ok(Answer::new(&created, text))
            }
            Self::List => {
                let mut client = AccessServiceClient::new(way.open().await?);
                let page = async |page_size, page_token| {
                    let page =
                        client.list_tokens(wire::ListTokensRequest { page_size, page_token }).await?.into_inner();
                    Ok((page.tokens, page.next_page_token))
                };
                let (tokens, next_page_token) = pages::all(None, page).await?;
                let text = list(&tokens);
                Ok(Answer::new(&wire::ListTokensResponse { tokens, next_page_token }, text))
            }
            Self::Rotate { id, overlap, save } => {
                saved::check(save.as_deref())?;
                let request = wire::RotateTokenRequest { id, overlap_seconds: overlap.as_secs() };
                let mut rotated = AccessServiceClient::new(way.open().await?).rotate_token(request).await?.into_inner();
                let place = saved::keep(save.as_deref(), &mut rotated.text)?;
                let text = shown_once(rotated.token.as_ref(), &rotated.text, &place);
                Ok(Answer::new(&rotated, text))
            }
            Self::Revoke { id } => {
                let request = wire::RevokeTokenRequest { id };
                let revoked = AccessServiceClient::new(way.open().await?).revoke_token(request).await?.into_inner();
                let id = revoked.token.as_ref().map(|token| token.id.clone()).unwrap_or_default();
                Ok(Answer::new(&revoked, format!("revoked {id}\n")))
            }
        }
    }
}

fn shown_once(token: Option<&wire::Token>, text: &str, place: &str) -> String {
    let token = token.cloned().unwrap_or_default();
    let text = if place.is_empty() { format!("{text} (not shown again)") } else { format!("in {place}") };
    details([
        ("id", token.id.clone()),
        ("name", token.name.clone()),
        ("scope", scope(&token)),
        ("state", state(&token)),
        ("token", text),
    ])
}

fn list(tokens: &[wire::Token]) -> String {
    let rows = tokens.iter().map(|token| {
        let created = moment::show(token.created_ms);
        [token.id.clone(), token.name.clone(), scope(token), state(token), created, token.created_by.clone()]
    });
    table(["ID", "NAME", "SCOPE", "STATE", "CREATED", "BY"], rows)
}

fn scope(token: &wire::Token) -> String {
    let scope = token.scope.clone().unwrap_or_default();
    let role = match scope.role() {
        wire::Role::Admin => "admin",
        wire::Role::Reader => "reader",
        wire::Role::Unspecified => "nobody",
    };
    if scope.app_id.is_empty() { format!("{role} of the cluster") } else { format!("{role} of app {}", scope.app_id) }
}

fn state(token: &wire::Token) -> String {
    let now_ms = clock::unix_ms();
    let old = if token.overlap_until_ms > now_ms {
        format!(", old text until {}", moment::show(token.overlap_until_ms))
    } else {
        String::new()
    };
    match (token.revoked_ms, token.expires_ms) {
        (0, 0) => format!("good{old}"),
        (0, expires) if expires > now_ms => format!("good until {}{old}", moment::show(expires)),
        (0, expires) => format!("expired {}", moment::show(expires)),
        (revoked, _) => format!("revoked {}", moment::show(revoked)),
    }
}
