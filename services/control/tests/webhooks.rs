//! Dead letters: listing, replaying and deleting them.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use backbone::Backbone;
use backbone::dead_letters::Keeper;
use channels::AppId;
use prost::Message as _;
use proto::backbone::{DeadLetter, WebhookEvent};
use proto::control as wire;
use support::{Client, Plane, config, memory, refused};
use tonic::Code;

/// A plane with the app `1`, and what its worker would use.
struct World {
    backbone: Backbone,
    keeper: Keeper,
    client: Client,
    _plane: Plane,
}

impl World {
    async fn start() -> Self {
        let backbone = memory();
        let plane = Plane::start_with(config(), &backbone).await;
        let mut client = plane.client().await;
        client.create_plain("1").await;
        Self { keeper: Keeper::new(&backbone), backbone, client, _plane: plane }
    }

    /// A dead letter of app `1` about `channel`, given up at `failed_ms`.
    async fn fail(&mut self, channel: &str, failed_ms: u64) {
        let event = WebhookEvent {
            version: 1,
            app_id: "1".to_owned(),
            name: "member_added".to_owned(),
            channel: channel.to_owned(),
            time_ms: failed_ms - 1,
            user_id: "u".to_owned(),
            ..WebhookEvent::default()
        };
        let letter = DeadLetter {
            version: 1,
            event: Some(event),
            webhook_id: "w".to_owned(),
            url: "http://a/".to_owned(),
            attempts: 9,
            reason: "answered 500".to_owned(),
            failed_ms,
        };
        self.keeper.add(&AppId::new("1").unwrap(), &letter).await.unwrap();
    }

    async fn all(&mut self) -> Vec<wire::DeadLetter> {
        self.client.dead_letters("1", 0, "").await.unwrap().dead_letters
    }
}

fn channels(letters: &[wire::DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.channel.as_str()).collect()
}

#[tokio::test]
async fn they_are_listed_in_pages_oldest_first() {
    let mut world = World::start().await;
    for (channel, at) in [("c", 30), ("a", 10), ("b", 20)] {
        world.fail(channel, at).await;
    }
    let first = world.client.dead_letters("1", 2, "").await.unwrap();
    assert_eq!(channels(&first.dead_letters), ["a", "b"]);
    let letter = wire::DeadLetter {
        id: first.dead_letters[0].id.clone(),
        webhook_id: "w".to_owned(),
        url: "http://a/".to_owned(),
        event: "member_added".to_owned(),
        channel: "a".to_owned(),
        user_id: "u".to_owned(),
        time_ms: 9,
        attempts: 9,
        reason: "answered 500".to_owned(),
        failed_ms: 10,
    };
    assert_eq!(first.dead_letters[0], letter);
    let second = world.client.dead_letters("1", 2, &first.next_page_token).await.unwrap();
    assert_eq!((channels(&second.dead_letters), second.next_page_token.as_str()), (vec!["c"], ""));
}

#[tokio::test]
async fn a_replay_puts_them_back_into_the_queue() {
    let mut world = World::start().await;
    for (channel, at) in [("a", 10), ("b", 20), ("c", 30)] {
        world.fail(channel, at).await;
    }
    let letters = world.all().await;
    let id = letters[1].id.as_str();
    assert_eq!(world.client.replay("1", &[id], false).await.unwrap(), 1);
    assert_eq!(channels(&world.all().await), ["a", "c"]);
    assert_eq!(world.client.replay("1", &[id], false).await.unwrap(), 0, "it is not there any more");
    assert_eq!(world.client.replay("1", &[], true).await.unwrap(), 2);
    assert_eq!(world.all().await, []);
    let mut consumer = world.backbone.webhook_queue().consume().await.unwrap();
    for channel in ["b", "a", "c"] {
        let item = testkit::within("a replayed event", consumer.next()).await.unwrap();
        let event = WebhookEvent::decode(item.payload().clone()).unwrap();
        assert_eq!((event.channel.as_str(), event.webhook_id.as_str()), (channel, "w"));
    }
}

#[tokio::test]
async fn what_is_deleted_is_not_delivered() {
    let mut world = World::start().await;
    for (channel, at) in [("a", 10), ("b", 20), ("c", 30)] {
        world.fail(channel, at).await;
    }
    let letters = world.all().await;
    let ids = [letters[0].id.as_str(), letters[2].id.as_str(), letters[0].id.as_str()];
    assert_eq!(world.client.forget("1", &ids, false).await.unwrap(), 2);
    assert_eq!(channels(&world.all().await), ["b"]);
    assert_eq!(world.client.forget("1", &[], true).await.unwrap(), 1);
    assert_eq!(world.client.replay("1", &[], true).await.unwrap(), 0);
}

#[tokio::test]
async fn a_bad_field_is_named() {
    let mut world = World::start().await;
    let client = &mut world.client;
    let invalid = Code::InvalidArgument;
    refused(client.dead_letters("a b", 0, "").await, invalid, "app_id: app id must be");
    refused(client.dead_letters("1", 1_001, "").await, invalid, "page_size: must be at most 1000");
    refused(client.dead_letters("1", 0, "x").await, invalid, "page_token: is not from an earlier answer");
    let id = "1730000000123-0123456789abcdef";
    let many = vec![id; 1_001];
    for (ids, all, words) in [
        (&[][..], false, "ids: must name dead letters, unless all of them are meant"),
        (&[id], true, "ids: must name dead letters, unless all of them are meant"),
        (&[id, "x"], false, "ids[1]: dead letter id must be"),
        (&many, false, "ids: must not be more than 1000"),
    ] {
        refused(client.replay("1", ids, all).await, invalid, words);
        refused(client.forget("1", ids, all).await, invalid, words);
    }
    refused(client.dead_letters("2", 0, "").await, Code::NotFound, "no app 2");
    refused(client.replay("2", &[], true).await, Code::NotFound, "no app 2");
    refused(client.forget("2", &[], true).await, Code::NotFound, "no app 2");
}
