//! What a socket is told that is refused before anybody looks at what it wants.
//!
//! The answer is the same whatever was asked: a status, `Retry-After`, and an error as REST clients of the Ably protocol
//! read it; those of the Pusher protocol go by the status. To WebSockets it is a failed handshake, after which they come
//! back like after any other. Over TLS there is no answer.

use std::time::Duration;

use ably::{Code, ErrorInfo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::TurnedAway;

/// When to come back, in seconds: not all at the same time.
const RETRY_AFTER: std::ops::RangeInclusive<u32> = 2..=10;

/// How long a client may take to read it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that are read and forgotten at most.
const LINGER_BYTES: usize = 64 * 1024;

/// Tells the client of `socket` why it is refused, while it holds a `permit` for that.
pub(crate) async fn turn_away(mut socket: TcpStream, why: TurnedAway, permit: OwnedSemaphorePermit) {
    let told = async {
        socket.write_all(answer(why).as_bytes()).await?;
        socket.shutdown().await?;
        // A socket that is closed with unread bytes resets the connection, and the client may never see the answer.
        let (mut scratch, mut left) = ([0; 1024], LINGER_BYTES);
        while left > 0 {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // Whoever does not read it has gone or does not care.
    tokio::time::timeout(PATIENCE, told).await.ok();
    drop(permit);
}

fn answer(why: TurnedAway) -> String {
    let ErrorInfo { code, status, message } = match why {
        TurnedAway::Address => Code::Rate.says("too many connections from this address, try again later"),
        TurnedAway::Memory => Code::Busy.says("the node is short of memory, try again"),
        TurnedAway::Full => Code::Busy.info(),
    };
    let reason = if status == 429 { "Too Many Requests" } else { "Service Unavailable" };
    let body = serde_json::json!({ "error": { "code": code, "statusCode": status, "message": message } }).to_string();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n{body}",
        body.len(),
        rand::random_range(RETRY_AFTER)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when_to_come_back() {
        let full = answer(TurnedAway::Full);
        assert!(full.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{full}");
        assert!(full.ends_with(r#"{"error":{"code":50005,"message":"busy, try again","statusCode":503}}"#), "{full}");
        let address = answer(TurnedAway::Address);
        assert!(address.starts_with("HTTP/1.1 429 ") && address.contains("\"code\":42910"), "{address}");
        let after = |answer: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix("Retry-After: ")).unwrap();
            line.parse::<u32>().unwrap()
        };
        let times: std::collections::BTreeSet<_> = (0..100).map(|_| after(&answer(TurnedAway::Memory))).collect();
        assert!(times.len() > 3 && times.iter().all(|time| RETRY_AFTER.contains(time)), "{times:?}");
    }
}
