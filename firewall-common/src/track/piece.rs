//! A later fragment of a flow's packet. It has passed by its first fragment's verdict and teaches nothing, but for one thing: how far the
//! TCP segment reaches whose header the first one held. Otherwise its acknowledgement would seem to cover data never sent.

use crate::{
    flow::{Flow, Sender, peer_flags},
    parse::{Descriptor, Kind},
};

/// Counts the fragment on its sender's side. State and timers stay as they are.
#[inline(always)]
pub fn count(flow: &mut Flow, sender: Sender, descriptor: &Descriptor) {
    let (peer, _) = flow.peers_mut(sender);
    peer.packets += 1;
    peer.bytes += u64::from(descriptor.ip_length);
    let end = descriptor.segment.end();
    // Only a segment that was learned from has a length here; a flow whose numbers were forgotten meanwhile learns them by a whole one.
    let teaches = matches!(descriptor.kind, Kind::Tcp) && descriptor.segment.length != 0;
    if teaches && !peer.has(peer_flags::RELEARN) && end.after(peer.end()) {
        peer.end = end.0;
    }
}
