//! The life of a token: when its client is asked for a new one, and when it is over.

/// How long before its end a token's client is asked to renew it, in ms (spec §2.7).
const HINT_MS: u64 = 30_000;

/// Whose whole life is shorter is not asked: it would renew all the time.
const WORTH_A_HINT_MS: u64 = 60_000;

/// From when to when a token holds, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it was issued.
    pub issued_ms: u64,
    /// When it expires.
    pub expires_ms: u64,
}

/// What is still to be said of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    expires_ms: u64,
    hint_ms: Option<u64>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Hint,
    Expiry,
}

impl From<Validity> for Token {
    fn from(validity: Validity) -> Self {
        let Validity { issued_ms, expires_ms } = validity;
        let worth = expires_ms.saturating_sub(issued_ms) >= WORTH_A_HINT_MS;
        Self { expires_ms, hint_ms: worth.then(|| expires_ms.saturating_sub(HINT_MS)) }
    }
}

impl Token {
    /// What has to be done at `now_ms`; a hint only once.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Due> {
        if now_ms >= self.expires_ms {
            return Some(Due::Expiry);
        }
        self.hint_ms.take_if(|hint_ms| now_ms >= *hint_ms).map(|_| Due::Hint)
    }

    /// When something is due next.
    pub(super) fn next_ms(&self) -> u64 {
        self.hint_ms.unwrap_or(self.expires_ms)
    }
}
