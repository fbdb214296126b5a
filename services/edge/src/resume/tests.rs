use std::time::Instant;

use backbone::WatchEvent;
use channels::App;

use super::*;
use crate::fixtures;
use crate::queue::Notices;

/// What one node has of it, over a backbone that others share.
struct Node {
    resumes: Arc<Resumes>,
    app: App,
}

impl Node {
    fn new(backbone: &Backbone, keys: &Arc<ClusterKeys>) -> Self {
        let resumes = Resumes::new(backbone, Arc::clone(keys), Duration::from_secs(120));
        Self { resumes: Arc::new(resumes), app: fixtures::app() }
    }

    fn peer(&self, connection: &ConnectionId) -> Arc<Peer> {
        let meter = metering::Meters::new(Instant::now()).meter(&self.app);
        Arc::new(Peer::new(connection.clone(), meter, fixtures::client(), 1000))
    }

    fn hold(&self, claim: Claim) -> (Held, Arc<Peer>, ConnectionKey) {
        let text = claim.key(&self.app.id, &Identity::Any);
        let peer = self.peer(claim.connection());
        let key = self.resumes.read(&self.app.id, &text).unwrap();
        (claim.hold(&peer), peer, key)
    }

    async fn take(&self, key: &ConnectionKey) -> Option<(Held, Arc<Peer>, ConnectionKey)> {
        self.resumes.take_over(key).await.ok().map(|claim| self.hold(claim))
    }
}

fn is_superseded(peer: &Peer) -> bool {
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Notices { ending, .. } = peer.queue.take(&cx, 0, &mut std::collections::VecDeque::new());
    ending == Some(Ending::Superseded)
}

fn two() -> (Backbone, Node, Node) {
    let backbone = Backbone::memory(&backbone::Config::default());
    let keys = Arc::new(ClusterKeys::generate());
    let (here, there) = (Node::new(&backbone, &keys), Node::new(&backbone, &keys));
    (backbone, here, there)
}

#[tokio::test]
async fn a_connection_moves_and_its_old_transport_is_told() {
    let (backbone, here, there) = two();
    let mut watch = backbone.kv(Bucket::Commands).watch().await.unwrap();
    let (_held, old, key) = here.hold(here.resumes.begin());
    let (_other, bystander, _) = here.hold(here.resumes.begin());
    let (_moved, new, next) = there.take(&key).await.unwrap();
    assert_eq!((&next.connection, next.generation), (&key.connection, 1));
    let resumed = loop {
        if let WatchEvent::Put(entry) = watch.next().await.unwrap() {
            break Resumed::decode(entry.value).unwrap();
        }
    };
    here.resumes.heard(&resumed);
    there.resumes.heard(&resumed);
    assert!(is_superseded(&old) && !is_superseded(&new) && !is_superseded(&bystander));
    assert!(!here.resumes.is_newest(&ConnectionKey { generation: 0, ..key.clone() }) || here.resumes.is_newest(&next));
    assert!(there.resumes.is_newest(&next) && !there.resumes.is_newest(&key));
}

#[tokio::test]
async fn a_key_is_good_for_one_resume() {
    let (_backbone, here, there) = two();
    let (held, _peer, first) = here.hold(here.resumes.begin());
    drop(held);
    let (_held, _peer, second) = there.take(&first).await.unwrap();
    assert!(here.take(&first).await.is_none(), "spent");
    let (_again, _, third) = here.take(&second).await.unwrap();
    assert_eq!(third.generation, 2);
    assert!(there.take(&first).await.is_none() && there.take(&second).await.is_none());
}

#[tokio::test]
async fn of_several_who_show_one_key_one_wins() {
    let (_backbone, here, there) = two();
    let (_held, _peer, key) = here.hold(here.resumes.begin());
    let tries = (0..8).map(|index| if index % 2 == 0 { here.take(&key) } else { there.take(&key) });
    let won: Vec<_> = futures_util::future::join_all(tries).await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
}

#[tokio::test]
async fn on_one_node_the_old_transport_ends_without_a_word_from_outside() {
    let (_backbone, here, _) = two();
    let (held, old, key) = here.hold(here.resumes.begin());
    let (_next, new, _) = here.take(&key).await.unwrap();
    assert!(is_superseded(&old) && !is_superseded(&new));
    drop(held);
    assert!(
        here.resumes.table.lock().live.contains_key(&key.connection),
        "the end of the old one is not the new one's"
    );
    drop(_next);
    assert!(here.resumes.table.lock().live.is_empty() && here.resumes.table.lock().claims.is_empty());
}

/// It is overtaken between writing its generation and having a transport.
#[tokio::test]
async fn who_is_overtaken_on_the_way_ends_at_once() {
    let (_backbone, here, there) = two();
    let (_held, _peer, key) = here.hold(here.resumes.begin());
    let slow = there.resumes.take_over(&key).await.unwrap();
    let newer = Resumed { app: here.app.id.clone(), connection: key.connection.clone(), generation: 2 };
    there.resumes.heard(&newer);
    let (_slow, peer, _) = there.hold(slow);
    assert!(is_superseded(&peer));
}

#[tokio::test]
async fn a_key_of_another_app_or_cluster_is_none() {
    let (backbone, here, _) = two();
    let claim = here.resumes.begin();
    let text = claim.key(&here.app.id, &Identity::Anonymous);
    assert!(here.resumes.read(&AppId::new("77").unwrap(), &text).is_none());
    let stranger = Node::new(&backbone, &Arc::new(ClusterKeys::generate()));
    assert!(stranger.resumes.read(&here.app.id, &text).is_none());
}
