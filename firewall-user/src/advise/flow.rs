//! Refused packets of an established flow: its handshake went by here, so that both endpoints are where they say they are.

use firewall_common::{
    evidence::{Evidence, Numbers, Side, marks},
    flow::{Flow, flow_flags},
    seq::Seq,
};

use super::{Confidence, Finding, Looks, NOISE, handshake, many};

/// Segments past the window from which on a stream is judged. A sender that goes on so long after its window has ended does not heed windows;
/// one or two may be probes or late duplicates.
const FEW_PAST: u32 = 8;
/// From here on there is no doubt left that chance could be.
const MANY_PAST: u32 = 32;
/// Times other data was sent under the same numbers. A blind attacker would have to meet the very beginning of a segment each time.
const FEW_REWOUND: u32 = 3;
/// Acknowledgements a receiver repeats before a sender of TCP retransmits (RFC 5681 §3.2).
const DUPLICATE_ACKS: u16 = 3;
/// The first refused number must lie as near to what its sender has sent: a blind attacker meets such a place once in 65 536 times. A smaller
/// window than this does not make it narrower, for several segments may be lost in a row.
const NEAR: u32 = 65_536;

/// A flow and what is known of its refusals.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'e> {
    evidence: &'e Evidence,
    /// Both records as they are now, or as they were with the last refusal: of the low endpoint, and of the high one.
    now: [Numbers; 2],
    /// What its handshake has in common with tunnels that are no TCP.
    hint: Option<&'static str>,
}

/// One direction of it: what one endpoint sends to the other.
struct Direction<'e> {
    sender: &'e Side,
    receiver: &'e Side,
    sender_now: Numbers,
    receiver_now: Numbers,
}

impl<'e> Connection<'e> {
    /// `live`: the flow's record, if it is still there.
    #[must_use]
    pub fn new(evidence: &'e Evidence, live: Option<&Flow>) -> Self {
        let live = live.filter(|flow| flow.created == evidence.created);
        let now = match live {
            Some(flow) => {
                let low_first = flow.has(flow_flags::INITIATOR_LOW);
                let (low, high) = if low_first { (&flow.initiator, &flow.responder) } else { (&flow.responder, &flow.initiator) };
                [low, high].map(|peer| {
                    let mut numbers = Numbers::default();
                    numbers.take(peer);
                    numbers
                })
            }
            None => [evidence.low.latest, evidence.high.latest],
        };
        Self { evidence, now, hint: live.and_then(handshake::hint) }
    }

    /// What the initiator sends, and what the responder does.
    fn directions(&self) -> [(&'static str, Direction<'e>); 2] {
        let [low, high] = self.now;
        let of_low = Direction { sender: &self.evidence.low, receiver: &self.evidence.high, sender_now: low, receiver_now: high };
        let of_high = Direction { sender: &self.evidence.high, receiver: &self.evidence.low, sender_now: high, receiver_now: low };
        if self.evidence.has(marks::INITIATOR_LOW) {
            [("client", of_low), ("server", of_high)]
        } else {
            [("client", of_high), ("server", of_low)]
        }
    }

    /// Refused packets of both sides.
    #[must_use]
    pub const fn refused(&self) -> u32 {
        self.evidence.low.packets.saturating_add(self.evidence.high.packets)
    }
}

impl Direction<'_> {
    /// Packets of the receiver since the first of the sender was refused, refused ones included.
    const fn heard(&self) -> u32 {
        self.receiver_now.packets.wrapping_sub(self.sender.peer_packets).saturating_add(self.receiver.packets)
    }

    /// The receiver has acknowledged more since: what this side sends arrives.
    const fn goes_on(&self) -> bool {
        let since = Seq(self.sender.peer_ack);
        Seq(self.receiver_now.ack).after(since) || (self.receiver.packets > 0 && self.receiver.acks_forward > 0)
    }

    /// Nothing was acknowledged of what the sender had sent last, when its window ended.
    const fn has_hole(&self) -> bool {
        Seq(self.sender.peer_ack).before(Seq(self.sender.before.end))
    }

    /// The receiver asks for what is missing: it repeats itself, or speaks and acknowledges nothing more.
    const fn receiver_waits(&self) -> bool {
        self.receiver_now.duplicate_acks >= DUPLICATE_ACKS || self.heard() > 0
    }

    /// Times the sender has sent something again since its window ended.
    fn sent_again(&self) -> u32 {
        let passed = self.sender_now.retransmitted.wrapping_sub(self.sender.before.retransmitted);
        u32::from(passed).saturating_add(self.sender.repeated)
    }

    /// It goes on behind the window, segment after segment, from where it was.
    const fn runs_past(&self) -> bool {
        let near = if self.sender.before.max_window > NEAR { self.sender.before.max_window } else { NEAR };
        self.sender.past_window >= FEW_PAST && self.sender.ahead <= near && self.sender.in_order >= self.sender.past_window / 2
    }

    /// It goes back to where its receiver waits, and sends something else there: no TCP does, and the check of repetitions refuses it each time.
    const fn rewinds(&self) -> bool {
        self.sender.rewound >= FEW_REWOUND && self.has_hole() && !self.goes_on() && self.receiver_waits()
    }

    fn is_fake(&self) -> bool {
        self.runs_past() && self.has_hole() && !self.goes_on() && self.receiver_waits() && self.sent_again() <= self.sender.past_window / 8
    }

    /// Real TCP does not run past a window it sees; so it sees another one, on another path.
    fn lacks_acknowledgements(&self) -> bool {
        self.runs_past() && self.heard() == 0 && self.sender.before.gaps == self.sender_now.gaps && !self.receiver_waits()
    }

    /// The sender acknowledges, further and further, what the receiver has not sent by here.
    const fn acknowledges_unseen(&self) -> bool {
        self.sender.invalid_ack >= FEW_PAST
            && self.sender.ack_ahead <= NEAR
            && self.sender.acks_forward + self.sender.acks_repeated >= self.sender.invalid_ack / 2
            && self.sender.acks_forward > 0
            && self.heard() == 0
    }
}

/// What the refused packets of an established flow look like.
#[must_use]
pub fn connection(connection: &Connection<'_>) -> Finding {
    let directions = connection.directions();
    if connection.refused() < NOISE {
        let why = format!("{} refused: too few to tell anything from", many(connection.refused(), "packet"));
        return Finding::new(Looks::Unknown, Confidence::Low, why);
    }
    if let Some((who, direction)) = directions.iter().filter(|(_, it)| it.is_fake()).max_by_key(|(_, it)| it.sender.past_window) {
        return fake(who, direction, connection.hint);
    }
    if let Some((who, direction)) = directions.iter().find(|(_, it)| it.rewinds()) {
        return rewound(who, direction, connection.hint);
    }
    for (who, direction) in &directions {
        if direction.lacks_acknowledgements() {
            let why = format!(
                "The {who} went {} past the window, in order, and nothing of the other side was seen meanwhile: its acknowledgements take \
                 another path.",
                many(direction.sender.past_window, "segment")
            );
            return Finding::new(Looks::Asymmetric, Confidence::Medium, why);
        }
        if direction.acknowledges_unseen() {
            let why = format!(
                "The {who} acknowledged data that never came by here, {} times and further each time, and nothing of the other side was seen \
                 meanwhile: what that sends takes another path.",
                direction.sender.invalid_ack
            );
            return Finding::new(Looks::Asymmetric, Confidence::Medium, why);
        }
    }
    others(&directions)
}

fn fake(who: &str, direction: &Direction<'_>, hint: Option<&str>) -> Finding {
    let Direction { sender, .. } = direction;
    let missing = Seq(sender.before.end).distance(Seq(sender.peer_ack));
    let asks = if direction.receiver_now.duplicate_acks >= DUPLICATE_ACKS {
        format!("the other side repeated its acknowledgement {} times", direction.receiver_now.duplicate_acks)
    } else {
        format!("the other side sent {} and acknowledged nothing more", many(direction.heard(), "packet"))
    };
    // A segment that begins past what its sender has sent shows a hole that was there before Weir.
    let lost = if direction.sender_now.gaps > 0 { "lost before Weir" } else { "lost behind Weir" };
    let again = match direction.sent_again() {
        0 => "nothing was sent again".to_owned(),
        times => format!("hardly anything was sent again ({times} times)"),
    };
    let mut why = format!(
        "A hole of the {who}'s data {missing} bytes before the window's end, {lost}, was never filled: {asks}, {again}, and {} past the window followed, \
         {} of them in order. A TCP stack would have retransmitted and stopped.",
        many(sender.past_window, "segment"),
        sender.in_order
    );
    why.extend(hint.map(|hint| format!(" {hint}")));
    let confidence = if sender.past_window >= MANY_PAST { Confidence::High } else { Confidence::Medium };
    Finding::new(Looks::FakeTcp, confidence, why)
}

fn rewound(who: &str, direction: &Direction<'_>, hint: Option<&str>) -> Finding {
    let mut why = format!(
        "The {who} went back to what the other side has not acknowledged, and sent other data under the same numbers, {} times. A TCP stack would have \
         sent the same again.",
        direction.sender.rewound
    );
    why.extend(hint.map(|hint| format!(" {hint}")));
    Finding::new(Looks::FakeTcp, Confidence::Medium, why)
}

/// Neither of the two that a bypass cures.
fn others(directions: &[(&'static str, Direction<'_>); 2]) -> Finding {
    let total = |of: fn(&Side) -> u32| directions.iter().fold(0_u32, |sum, (_, it)| sum.saturating_add(of(it.sender)));
    let (packets, resets, syns) = (total(|side| side.packets), total(|side| side.resets), total(|side| side.syns));
    let goes_on = directions.iter().any(|(_, it)| it.sender.packets > 0 && it.goes_on());
    let repeated = total(|side| side.repeated);
    let farthest = directions.iter().map(|(_, it)| it.sender.farthest).max().unwrap_or(0);
    if resets + syns > packets / 2 && repeated >= packets / 2 && !goes_on {
        let why = format!(
            "{resets} resets and {syns} SYNs were refused, {repeated} of them with the number of the one before: one side has begun \
                           anew or given up, and the other goes on as if nothing had happened."
        );
        return Finding::new(Looks::BrokenPeer, Confidence::Medium, why);
    }
    if goes_on {
        let why = format!(
            "{} refused ({resets} of them resets), up to {farthest} bytes past the window, while the connection went on without them: \
                           its own data was acknowledged.",
            many(packets, "packet")
        );
        return Finding::new(Looks::Injection, Confidence::High, why);
    }
    let scattered = directions.iter().any(|(_, it)| it.sender.packets > 0 && it.sender.in_order < it.sender.packets / 2 && !it.has_hole());
    if scattered {
        let why = format!(
            "{} refused ({resets} of them resets), without order and up to {farthest} bytes past the window, and nothing of the \
                           connection's own data is missing.",
            many(packets, "packet")
        );
        return Finding::new(Looks::Injection, Confidence::Medium, why);
    }
    Finding::new(Looks::Unknown, Confidence::Low, format!("{} refused, and they fit nothing that is known.", many(packets, "packet")))
}
