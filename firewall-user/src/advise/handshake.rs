//! What a connection's handshake was like. Tunnels that only look like TCP make handshakes of a few forms, and so may an honest stack: it is a
//! hint for whoever reads the advice, and counts for nothing.

use firewall_common::flow::{Flow, features, peer_flags};

/// The window of a SYN without scaling at its largest (RFC 9293 §3.1).
const FULL_WINDOW: u32 = 65_535;
/// The largest shift there is (RFC 7323 §2.3).
const LARGEST_SHIFT: u8 = 14;

/// What the handshake has in common with such tunnels, as a sentence.
pub(super) fn hint(flow: &Flow) -> Option<&'static str> {
    let peers = [&flow.initiator, &flow.responder];
    if peers.iter().any(|peer| !peer.has(peer_flags::SYN)) {
        return None;
    }
    let scaling = peers.iter().any(|peer| peer.has(peer_flags::SCALE_OFFERED));
    let timestamps = flow.features & (features::TIMESTAMPS_INITIATOR | features::TIMESTAMPS_RESPONDER) != 0;
    if !scaling && !timestamps && peers.iter().all(|peer| peer.max_window == FULL_WINDOW) {
        return Some(
            "Its handshake offered neither window scaling nor timestamps, and both ends announce 65535 bytes, as IPsec over TCP does.",
        );
    }
    if peers.iter().all(|peer| peer.isn == 0 && peer.scale == LARGEST_SHIFT) {
        return Some("Both ends began at sequence number 0 with a window shift of 14, as Phantun does.");
    }
    None
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::{NO_SCALE, Peer};

    use super::*;

    fn bare() -> Flow {
        let peer = Peer { flags: peer_flags::SYN | peer_flags::SYN_ACKED, max_window: 65_535, scale: NO_SCALE, isn: 7, ..Peer::default() };
        Flow { initiator: peer, responder: peer, ..Flow::default() }
    }

    #[test]
    fn a_bare_handshake_is_like_that_of_ipsec_over_tcp() {
        assert!(hint(&bare()).is_some_and(|words| words.contains("IPsec over TCP")));
        let mut flow = bare();
        flow.features = features::TIMESTAMPS_RESPONDER;
        assert_eq!(hint(&flow), None);
        let mut flow = bare();
        flow.responder.max_window = 65_534;
        assert_eq!(hint(&flow), None);
        let mut flow = bare();
        flow.initiator.flags |= peer_flags::SCALE_OFFERED;
        assert_eq!(hint(&flow), None);
    }

    #[test]
    fn two_ends_at_zero_with_the_largest_shift_are_like_phantun() {
        let mut flow = bare();
        for peer in [&mut flow.initiator, &mut flow.responder] {
            (peer.isn, peer.scale) = (0, 14);
            peer.flags |= peer_flags::SCALE_OFFERED;
        }
        assert!(hint(&flow).is_some_and(|words| words.contains("Phantun")));
        flow.responder.isn = 1;
        assert_eq!(hint(&flow), None);
    }

    #[test]
    fn of_a_connection_met_in_its_middle_nothing_is_said() {
        let mut flow = bare();
        flow.initiator.flags = 0;
        assert_eq!(hint(&flow), None);
    }
}
