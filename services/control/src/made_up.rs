//! Ids, names and secrets that the caller left to us. All from a cryptographic generator that the operating system
//! seeds, since a key name that can be foretold can be squatted on and a secret that can be foretold is none.

use channels::{AppId, KeyName, Secret};
use rand::Rng as _;
use rand::distr::{Alphanumeric, SampleString as _};

use crate::AdminToken;

/// App ids: digits, since some Pusher libraries insist, below 2^31, since some parse them, and not so short that they
/// look like those that people choose.
const APP_IDS: std::ops::RangeInclusive<u32> = 100_000_000..=2_147_483_647;

/// Random characters of a key name. It only has to be unique among the keys of one app.
const KEY_NAME_CHARS: usize = 8;

/// Bytes of a secret, as twice as many hexadecimal digits: 128 bits, more than enough for HMAC keys.
const SECRET_BYTES: usize = 16;

/// A new app's id.
pub(crate) fn app_id() -> AppId {
    let number = rand::rng().random_range(APP_IDS);
    AppId::new(&number.to_string()).expect("digits are an app id")
}

/// A new key's name, `{app}.{random}`.
pub(crate) fn key_name(app: &AppId) -> KeyName {
    let random = Alphanumeric.sample_string(&mut rand::rng(), KEY_NAME_CHARS);
    KeyName::new(&format!("{app}.{random}")).expect("app ids and letters are a key name")
}

/// A new key's secret.
pub(crate) fn secret() -> Secret {
    Secret::new(&hex()).expect("not empty")
}

/// A new admin token, for servers that are started to be played with.
pub fn admin_token() -> AdminToken {
    AdminToken::new(&hex()).expect("hexadecimal digits are a token")
}

fn hex() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn have_their_shape() {
        let app = app_id();
        assert!(app.as_str().len() >= 9 && app.as_str().bytes().all(|b| b.is_ascii_digit()));
        let name = key_name(&app);
        assert_eq!(name.as_str().strip_prefix(&format!("{app}.")).unwrap().len(), KEY_NAME_CHARS);
        let secret = secret();
        assert_eq!(secret.expose().len(), 32);
        assert!(secret.expose().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        assert_ne!(secret.expose(), super::secret().expose());
    }
}
