//! Connecting to real servers, for every test program of this crate that has some.

use backbone::{Backbone, Config, NatsConfig, StartError};
use testkit::eventually;

/// Connects, waiting for a cluster that is still forming.
pub async fn connect(config: &Config, urls: Vec<String>) -> Backbone {
    let nats = NatsConfig { urls, ..NatsConfig::default() };
    eventually("the backbone to start", || async {
        match Backbone::connect(config, &nats).await {
            Ok(backbone) => Some(backbone),
            Err(StartError::Unreachable(_)) => None,
            Err(StartError::Refused(sentence)) => panic!("refused: {sentence}"),
        }
    })
    .await
}
