//! When the certificate of a listener expires: the one fact of a certificate that operators are to be warned of.
//!
//! Of X.509 it reads nothing else; whether a certificate is any good is for those who show it and those who check it.

use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};

use crate::Gauge;
use crate::metrics::TLS_CERTIFICATE_EXPIRY;

/// Shows when the certificate of one listener expires.
#[derive(Debug)]
pub struct CertificateExpiry {
    gauge: Gauge,
}

impl CertificateExpiry {
    /// That of `listener`, one of the catalogue's, which shows a certificate.
    pub fn of(listener: &str) -> Self {
        Self { gauge: TLS_CERTIFICATE_EXPIRY.with([listener]) }
    }

    /// From now on the listener shows `certificate`, in DER.
    pub fn shows(&self, certificate: &[u8]) {
        match expiry(certificate) {
            Ok(at) => self.gauge.set(at.as_secs_f64()),
            Err(error) => tracing::warn!(%error, "when the new certificate expires cannot be read"),
        }
    }
}

/// The end of a certificate's validity, since the Unix epoch (RFC 5280, 4.1).
fn expiry(certificate: &[u8]) -> der::Result<Duration> {
    let mut certificate = SliceReader::new(sequence(&mut SliceReader::new(certificate)?)?)?;
    let mut signed = SliceReader::new(sequence(&mut certificate)?)?;
    if signed.peek_tag()?.is_context_specific() {
        // The version, which the first one leaves out.
        signed.tlv_bytes()?;
    }
    let _serial = signed.tlv_bytes()?;
    let _algorithm = signed.tlv_bytes()?;
    let _issuer = signed.tlv_bytes()?;
    let mut validity = SliceReader::new(sequence(&mut signed)?)?;
    let _not_before = validity.tlv_bytes()?;
    // From 2050 on it is written in the other form.
    match validity.peek_tag()? {
        Tag::UtcTime => UtcTime::decode(&mut validity).map(|time| time.to_unix_duration()),
        _ => GeneralizedTime::decode(&mut validity).map(|time| time.to_unix_duration()),
    }
}

/// The content of the sequence that comes next.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_validity_in_both_forms() {
        for (year, seconds) in [(2031, 1_924_992_000), (2055, 2_682_374_400)] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(expiry(certificate.der()).unwrap(), Duration::from_secs(seconds), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", b"-----BEGIN"] {
            assert!(expiry(bytes).is_err(), "{bytes:?}");
        }
    }
}
