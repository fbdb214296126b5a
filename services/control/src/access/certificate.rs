//! What a client certificate says about its bearer.
//!
//! Whether the certificate is good was found out in the handshake; here it is only read. What its bearer may is a URI
//! among its subject's alternative names, so that a certificate made for something else lets nobody in.

use backbone::access::{Role, Scope};
use channels::AppId;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::Grant;

/// Begins the URIs that are ours.
const SCHEME: &str = "fanfare://";

/// Longest name of a bearer that is logged.
const MAX_NAME_CHARS: usize = 64;

/// What the certificate lets its bearer do, and who that is; or what is wrong with it.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<(Grant, String), &'static str> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| "the client certificate cannot be read")?;
    let mut ours = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(SCHEME));
    let scope = ours.next().ok_or("the client certificate names no scope, such as fanfare://reader")?;
    if ours.next().is_some() {
        return Err("the client certificate names more than one scope");
    }
    let grant = grant(scope).ok_or("the client certificate names a scope that is none")?;
    let name = common_name(certificate.subject()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| {
        let serial = certificate.serial().iter().map(|byte| format!("{byte:02x}"));
        format!("serial {}", serial.collect::<String>())
    });
    Ok((grant, name))
}

fn grant(scope: &str) -> Option<Grant> {
    let role = |name| match name {
        "admin" => Some(Role::Admin),
        "reader" => Some(Role::Reader),
        _ => None,
    };
    let scope = match scope.split('/').collect::<Vec<_>>().as_slice() {
        ["node"] => return Some(Grant::Node),
        [name] => Scope { role: role(name)?, app: None },
        ["app", id, name] => Scope { role: role(name)?, app: Some(AppId::new(id).ok()?) },
        _ => return None,
    };
    Some(Grant::Scope(scope))
}

/// The common name in a subject: a sequence of sets of sequences of type and value (RFC 5280, 4.1.2.4).
fn common_name(mut subject: &[u8]) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_ID: u8 = 0x06;
    /// 2.5.4.3
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    while !subject.is_empty() {
        let mut set;
        (set, subject) = element(subject, Some(SET))?;
        while !set.is_empty() {
            let attribute;
            (attribute, set) = element(set, Some(SEQUENCE))?;
            let (kind, rest) = element(attribute, Some(OBJECT_ID))?;
            if kind == COMMON_NAME {
                let text = std::str::from_utf8(element(rest, None)?.0).ok()?;
                return Some(text.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect());
            }
        }
    }
    None
}

/// The content of the first DER element, if it has this tag, and what is behind it.
fn element(der: &[u8], tag: Option<u8>) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    if tag.is_some_and(|tag| tag != *first) {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        // In one or two bytes; no name is longer.
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn made(name: Option<&str>, uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "x".repeat(200));
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.serial_number = Some(0x0abc.into());
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn scope(role: Role, app: Option<&str>) -> Grant {
        Grant::Scope(Scope { role, app: app.map(|id| AppId::new(id).unwrap()) })
    }

    #[test]
    fn scopes() {
        for (uri, expected) in [
            ("fanfare://admin", scope(Role::Admin, None)),
            ("fanfare://reader", scope(Role::Reader, None)),
            ("fanfare://app/1001/admin", scope(Role::Admin, Some("1001"))),
            ("fanfare://app/a_b/reader", scope(Role::Reader, Some("a_b"))),
            ("fanfare://node", Grant::Node),
        ] {
            let certificate = made(Some("ops"), &["https://example.com/", uri]);
            assert_eq!(read(&certificate), Ok((expected, "ops".to_owned())), "{uri}");
        }
        for uris in [
            &[][..],
            &["fanfare:admin"],
            &["fanfare://"],
            &["fanfare://Admin"],
            &["fanfare://admin/"],
            &["fanfare://admin/reader"],
            &["fanfare://app/1001"],
            &["fanfare://app//admin"],
            &["fanfare://app/a.b/admin"],
            &["fanfare://app/1001/admin/"],
            &["fanfare://node/1"],
            &["https://admin"],
            &["fanfare://reader", "fanfare://admin"],
        ] {
            assert!(read(&made(Some("ops"), uris)).is_err(), "{uris:?}");
        }
        assert!(read(&CertificateDer::from(vec![0x30, 0])).is_err());
    }

    #[test]
    fn names() {
        let name = |name| read(&made(name, &["fanfare://admin"])).unwrap().1;
        assert_eq!(name(Some("Björn <ops>")), "Björn <ops>");
        assert_eq!(name(Some("a\nb")), "ab");
        let long = "n".repeat(300);
        assert_eq!(name(Some(&long)), &long[..64]);
        assert_eq!(name(None), "serial 0abc");
    }
}
