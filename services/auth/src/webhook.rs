//! The signature of webhooks, by which a receiver knows that the server has sent them.

use crate::Signer;
use crate::mac::Signature;

impl Signer {
    /// The value of `X-Pusher-Signature` for a webhook with this body: the HMAC-SHA256 in lower-case hex, without the
    /// key, over the very bytes that are sent.
    pub fn webhook(&self, body: &[u8]) -> String {
        Signature::of(&self.secret, &[body]).text().to_owned()
    }
}
