//! What stage *guard* saw, in words.

use firewall_common::guard::{Look, Saw, Turn, wants};

/// What it wants of the packet's flow, what the packet carries, and what that changes.
pub(super) fn lines(look: &Look) -> Vec<String> {
    if let Some(turn) = Turn::from_number(look.turned) {
        return vec![
            match turn {
                Turn::Proven => "the flow has proven to be IPsec over TCP: it is bypassed from here on",
                Turn::NoTrailer => "both sides send data without the trailer: the flow is inspected strictly again",
                Turn::Handshake => "a new connection begins: it is inspected strictly until it proves itself",
            }
            .to_owned(),
        ];
    }
    let carries = if look.saw == Saw::Security as u8 {
        format!("it carries ESP or AH: SPI {:#010x}, sequence number {}", look.spi, look.sequence)
    } else if look.saw == Saw::Ike as u8 {
        "it carries IKE".to_owned()
    } else if look.saw == Saw::Nothing as u8 {
        "it carries nothing that the guard could judge".to_owned()
    } else {
        "it carries no IPsec that the guard knows".to_owned()
    };
    let mut lines = vec![carries];
    if look.wants & wants::ESTABLISHED == 0 {
        lines.push("the flow is not established: there is no window yet".to_owned());
    }
    lines
}
