//! Hexadecimal digits.

/// `bytes` as lower-case digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

/// The `N` bytes that `text` has the digits of, in either case; `None` if it has anything else.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(encode(&[0x00, 0x1f, 0xa0]), "001fa0");
        assert_eq!(decode("001FA0"), Some([0x00, 0x1f, 0xa0]));
        for text in ["", "001fa", "001fa000", "001fag", "+01fa0", "äöü"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
