//! Webhooks from what edges tell to what receivers get, over both backbones, with receivers on loopback.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

mod addresses;
mod age;
mod dead_letters;
mod decisions;
mod failover;
mod pace;
mod receivers;
mod requests;
mod support;

/// Runs each case on both backbones.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod in_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Variant::Memory).await;
            })*
        }
        mod on_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Variant::Nats).await;
            })*
        }
    };
}
pub(crate) use on_both;
