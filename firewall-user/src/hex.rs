//! Bytes in hexadecimal digits, as frames are written in JSON.

use std::fmt::Write as _;

#[must_use]
pub fn write(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes; `None` for anything but pairs of digits.
#[must_use]
pub fn read(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_written() {
        assert_eq!(read("00fF10"), Some(vec![0, 255, 16]));
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(write(&[0, 255, 16]), "00ff10");
        for wrong in ["0", "0g", " 00", "é0"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
