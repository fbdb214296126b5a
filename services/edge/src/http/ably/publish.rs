//! Publishing: checked whole, counted against the app's quotas whole, then sent; 201 when the backbone has acknowledged it.

use std::time::Instant;

use ::channels::{App, ChannelName, ConnectionId, Operation, Record, RecordKind, Tier};
use ably::publish::{Composed, Publisher as Who, compose};
use ably::rest::{Answer, Published, connection_key, forced_refusal, parse_publish};
use ably::wire::{ClientMessage, Items};
use ably::{Code, ErrorInfo, Identity, Name, serial};
use backbone::{IdempotencyId, Publish, PublishError, Publisher};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::control::TailKind;
use telemetry::trace::Span;

use super::failure::unpublished;
use super::{Call, Caller, Failure};
use crate::http::publish::Cost;
use crate::metrics::PublishResult;
use crate::tail::Told;
use crate::trace;

/// Most messages in one publish (spec §18).
pub(super) const MAX_MESSAGES: usize = 1_000;

/// `POST /channels/{channel}/messages`.
pub(super) async fn answer(
    call: &Call<'_>,
    caller: &Caller,
    name: &str,
    body: &[u8],
    span: Option<&mut Span>,
) -> Result<Answer, Failure> {
    forced_refusal(&call.query)?;
    let items = parse_publish(body, &call.query, &call.headers)?;
    let ready = ready(call, caller, &items)?;
    let publisher = Publisher::new(call.shared.backbone.clone());
    let published = send(call, caller, &publisher, name, &ready, span)?.await?;
    Ok(call.exchange.answer(201, &published))
}

/// What is to be published, on whichever channels.
pub(super) struct Ready {
    composed: Composed,
    /// What the publish is called.
    base: String,
    /// The connection it is published for.
    connection: Option<ConnectionId>,
}

/// Checks messages.
pub(super) fn ready(call: &Call<'_>, caller: &Caller, items: &Items<ClientMessage<'_>>) -> Result<Ready, ErrorInfo> {
    let (connection, identity) = match connection_key(items)? {
        None => (None, None),
        Some(text) => {
            let unknown = || Code::ForeignConnection.says("no such connectionKey");
            let resumes = &call.shared.resumes;
            let key = resumes.read(&caller.app.id, text).filter(|key| resumes.is_newest(key)).ok_or_else(unknown)?;
            (Some(key.connection), Some(key.identity))
        }
    };
    // Who holds a connection's key speaks for its client.
    let identity = identity.filter(|identity| matches!(identity, Identity::Is(_)));
    let who = Who {
        identity: identity.as_ref().unwrap_or(&caller.identity),
        connection: connection.as_ref(),
        message_bytes: caller.app.limits.message_bytes,
        messages: MAX_MESSAGES,
    };
    let composed = compose(items, &who)?;
    let base = composed.id.clone().unwrap_or_else(|| URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>()));
    Ok(Ready { composed, base, connection })
}

/// Publishes on one channel. Its place in line is taken by the call.
pub(super) fn send<'a>(
    call: &'a Call<'_>,
    caller: &'a Caller,
    publisher: &'a Publisher,
    name: &'a str,
    ready: &Ready,
    span: Option<&mut Span>,
) -> Result<impl Future<Output = Result<Published, Failure>> + use<'a>, Failure> {
    let channel = publishable(caller, name)?;
    let Ready { composed, base, connection } = ready;
    let record = Record {
        id: Some(base.clone()),
        kind: RecordKind::Messages,
        connection: connection.clone(),
        client: composed.client.clone(),
        timestamp_ms: call.now_ms,
        messages: composed.messages.clone(),
        traceparent: None,
    };
    let tier = if composed.ephemeral { Tier::Ephemeral } else { caller.app.tier(&channel) };
    let (count, base) = (record.messages.len(), base.clone());
    // Nothing is published by publishing nothing.
    let mut sending = if count == 0 { None } else { Some(admit(call, &caller.app, channel, tier, record, ready)?) };
    if let (Some(span), Some((publish, _))) = (span, &mut sending) {
        trace::hand_on(span, std::iter::once(publish));
    }
    Ok(async move {
        let at = match sending {
            Some((publish, cost)) => {
                let tailed = call.shared.tails.any().then(|| publish.clone());
                let result = publisher.publish(publish).await;
                settle(call, caller, tailed.as_ref(), &cost, &result);
                result.map_err(|error| unpublished(&error))?.position
            }
            None => None,
        };
        Ok(Published::new(name, &base, at, call.now_ms, count))
    })
}

/// The channel called `name`, if the caller may publish there.
fn publishable(caller: &Caller, name: &str) -> Result<ChannelName, ErrorInfo> {
    let name = Name::parse(name)?;
    caller.granted.permit(name.base().as_str(), Operation::Publish)?;
    if !name.takes_publishes() {
        return Err(Code::ChannelName.says("nobody publishes on a derived channel or a metachannel"));
    }
    Ok(name.base().clone())
}

/// Counts a record against the app's quotas.
fn admit(
    call: &Call<'_>,
    app: &App,
    channel: ChannelName,
    tier: Tier,
    record: Record,
    ready: &Ready,
) -> Result<(Publish, Cost), Failure> {
    let cost = Cost::of(&record, tier);
    let admitted = call.shared.meter(app).publish_all(cost.messages, cost.bytes, &cost.kept, Instant::now());
    admitted.inspect_err(|refused| call.shared.metrics.over_quota(refused.quota))?;
    let given = ready.composed.id.as_ref().map(|base| IdempotencyId::new(&serial::client_key(base)));
    let idempotency = given.transpose().map_err(|invalid| Code::MessageId.says(invalid.to_string()))?;
    Ok((Publish { app: app.id.clone(), channel, tier, record, idempotency }, cost))
}

/// Counts how a publish ended, and tells who tails the app.
fn settle(
    call: &Call<'_>,
    caller: &Caller,
    tailed: Option<&Publish>,
    cost: &Cost,
    result: &Result<backbone::Published, PublishError>,
) {
    let shared = call.shared;
    shared.metrics.ably_rest.result(PublishResult::of(result)).increment(1);
    shared.metrics.ably_rest.seconds.record(call.begun.elapsed().as_secs_f64());
    if let Err(PublishError::TooLarge | PublishError::Unavailable) = result {
        shared.meter(&caller.app).unpublished(cost.messages, cost.bytes, &cost.kept);
    }
    let Some(publish) = tailed else { return };
    for message in &publish.record.messages {
        let event = message.name.as_deref().unwrap_or_default();
        shared.tell_published(&publish.app, &publish.channel, Told { event, ..Told::default() }, result);
    }
}

/// Counts a publish that was refused before it was sent, and tells who tails the app, if that is known.
pub(super) fn refused(call: &Call<'_>, whose: Option<(&App, &str)>, failure: Failure) -> Failure {
    let Some(result) = class(&failure.error) else { return failure };
    call.shared.metrics.ably_rest.result(result).increment(1);
    if let Some((app, channel)) = whose {
        let (code, reason) = (failure.error.code, failure.error.message.as_ref());
        let told = Told { kind: TailKind::PublishRefused, channel, code, reason, ..Told::default() };
        call.shared.tails.tell(&app.id, told);
    }
    failure
}

/// How a refusal is counted; `None` if it was when the backbone gave it.
fn class(error: &ErrorInfo) -> Option<PublishResult> {
    match (error.code, error.status) {
        (_, 500..) => None,
        (code, _) if code == Code::TooLarge.number() => Some(PublishResult::TooLarge),
        (_, 401 | 403 | 404) => Some(PublishResult::Unauthorized),
        (_, 429) => Some(PublishResult::OverLimit),
        (_, _) => Some(PublishResult::Invalid),
    }
}
