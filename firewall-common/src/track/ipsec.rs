//! What flows of ESP and AH, also in UDP, tell of their security associations. Nothing is enforced by it: Weir cannot verify a packet, and
//! the SPI of a new association is a number that only the endpoints know before it is used.
//!
//! An endpoint's record keeps in `isn` the SPI it sends with, in `ack` the one before, in `end` the highest sequence number, and in `gaps`
//! how often the SPI has changed. Those fields have no other use outside TCP.

use crate::{flow::Peer, wire::ipsec::Security};

/// Takes a packet's association into its sender's record.
#[inline(always)]
pub fn learn(sender: &mut Peer, security: Security) {
    if sender.isn == security.spi {
        sender.end = sender.end().max(security.sequence).0;
        return;
    }
    // After a rekey both associations live for a moment (RFC 7296 §2.8): a late packet of the old one brings it back no more.
    if sender.ack == security.spi {
        return;
    }
    if sender.isn != 0 {
        sender.gaps = sender.gaps.saturating_add(1);
    }
    sender.ack = sender.isn;
    sender.isn = security.spi;
    sender.end = security.sequence.0;
}
