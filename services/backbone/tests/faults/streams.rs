//! Streams that are lost and made anew.

use async_nats::jetstream;
use backbone::{Config, Delivery};
use channels::Tier;
use testkit::{Nats, within};

use crate::checker::*;

/// A stream that comes back empty counts from 1 again. A subscriber must be told, and must not take the new messages
/// for old ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_is_a_new_epoch() {
    let nats = Nats::start().await;
    let config = Config { replicas: 1, ..config() };
    let backbone = connect(&config, vec![nats.url()]).await;
    let mut attachment = backbone.attach(&app(), &channel(0), Tier::Recoverable).await.unwrap();
    let mut last = attachment.head();
    for number in 0..5 {
        backbone.publish(publish(&channel(0), number.to_string())).await.unwrap();
        let Delivery::Record(Some(position), _) = within("a record", attachment.next()).await else { panic!() };
        last = position;
    }
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let lost = context.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    context.delete_stream(STREAM).await.unwrap();
    context.create_stream(lost).await.unwrap();

    backbone.publish(publish(&channel(0), "new".to_owned())).await.unwrap();
    match within("a gap", attachment.next()).await {
        Delivery::Gap(gap) => {
            assert_eq!(gap.after, last);
            assert_ne!(gap.resumes.epoch, last.epoch);
        }
        record @ Delivery::Record(..) => panic!("{record:?} before any gap"),
    }
    match within("the record after it", attachment.next()).await {
        Delivery::Record(Some(position), record) => {
            assert_ne!(position.epoch, last.epoch);
            assert_eq!(record.messages[0].data, "new");
        }
        other => panic!("unexpected {other:?}"),
    }
}
