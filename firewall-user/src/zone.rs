//! Names of zones, as interfaces are put into them.

use firewall_common::rule::ZONE_NAME_LENGTH;

use crate::api::Failure;

/// Zone of the box itself, and the word for every zone: no interface can be in either.
const RESERVED: [&str; 2] = ["self", "any"];

/// Refuses what is no name for a zone of interfaces.
pub fn check(name: &str) -> Result<(), Failure> {
    if RESERVED.contains(&name) {
        return Err(Failure::usage(format!("no interface can be in zone `{name}`"))
            .hint("`self` is the box itself and `any` stands for every zone; choose another name"));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    if first && rest && name.len() < ZONE_NAME_LENGTH {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` is no zone name"))
        .hint(format!("a zone name begins with a-z and goes on with a-z, 0-9, _ and -, {} bytes at most", ZONE_NAME_LENGTH - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["outside", "a", "dmz-1", "lan_b"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["", "self", "any", "Outside", "1a", "-a", "a b", "a.b", &"x".repeat(32)] {
            assert!(check(name).is_err(), "{name:?} was accepted");
        }
    }
}
