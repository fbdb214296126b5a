//! Many channels at once, each of which succeeds or fails by itself.

use ably::encode::member_list;
use ably::rest::{Answer, BatchPresence, BatchResult, BatchSpecs, MembersResult, Published};
use ably::{Code, ErrorInfo};
use backbone::Publisher;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use telemetry::trace::Span;

use super::channels::may_see_members;
use super::failure::unread;
use super::publish::{Ready, ready, refused, send};
use super::{Call, Caller, Failure, existing};

/// Publishes, or reads, of one request under way at one time.
const CONCURRENT: usize = 64;

/// Members of one channel in an answer that has no pages.
const MOST_MEMBERS: usize = 10_000;

/// `POST /messages`.
pub(super) async fn publish(
    call: &Call<'_>,
    caller: &Caller,
    body: &[u8],
    mut span: Option<&mut Span>,
) -> Result<Answer, Failure> {
    let batch = BatchSpecs::parse(body, &call.headers)?;
    let prepared: Vec<Result<Ready, ErrorInfo>> =
        batch.specs.iter().map(|spec| ready(call, caller, &spec.messages)).collect();
    let publisher = Publisher::new(call.shared.backbone.clone());
    // Each takes its place in line here, so that what goes to one channel stays in order.
    let mut publishing = Vec::new();
    for (index, (spec, ready)) in batch.specs.iter().zip(&prepared).enumerate() {
        for channel in spec.channels() {
            let ready = ready.as_ref().map_err(|error| Failure::from(error.clone()));
            let begun = ready.and_then(|ready| send(call, caller, &publisher, channel, ready, span.as_deref_mut()));
            let publish = async move {
                let result: Result<Published, Failure> = match begun {
                    Ok(sending) => sending.await,
                    Err(failure) => Err(failure),
                };
                let result = result.map_err(|failure| refused(call, Some((&caller.app, channel)), failure).error);
                (index, (channel.to_owned(), result))
            };
            publishing.push(publish.boxed());
        }
    }
    let results: Vec<(usize, BatchResult)> = stream::iter(publishing).buffered(CONCURRENT).collect().await;
    let mut by_spec: Vec<Vec<BatchResult>> = batch.specs.iter().map(|_| Vec::new()).collect();
    for (index, result) in results {
        by_spec[index].push(result);
    }
    Ok(batch.answer(&call.exchange, &by_spec))
}

/// `GET /presence`.
pub(super) async fn presence(call: &Call<'_>, caller: &Caller) -> Result<Answer, Failure> {
    let batch = BatchPresence::parse(&call.query)?;
    let mut reading = Vec::new();
    for name in &batch.channels {
        reading.push(async move { (name.clone(), members(call, caller, name).await) }.boxed());
    }
    let results: Vec<MembersResult> = stream::iter(reading).buffered(CONCURRENT).collect().await;
    Ok(BatchPresence::answer(&call.exchange, &results))
}

async fn members(call: &Call<'_>, caller: &Caller, name: &str) -> Result<Bytes, ErrorInfo> {
    let channel = existing(name)?;
    may_see_members(caller, channel.as_str())?;
    let mut members = call.shared.hub.members(&caller.app, &channel).await.map_err(|error| unread(&error))?;
    if members.len() > MOST_MEMBERS {
        return Err(Code::TooManyMembers.says("the channel has too many members for a batch; ask for it alone"));
    }
    members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let listed: Vec<_> = members.iter().map(|(member, data)| (member, data)).collect();
    Ok(member_list(call.exchange.format, &listed))
}
