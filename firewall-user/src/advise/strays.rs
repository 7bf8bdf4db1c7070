//! Refused packets that are of no established flow, by their source. Anybody can send those, with any source: what a source looks like is judged
//! by all it has sent astray.

use firewall_common::{
    evidence::{CONVERSATIONS, Evidence, Side, Stranger, marks},
    flow::{Address, FlowKey},
    wire::tcp::flags,
};

use super::{Confidence, Finding, Looks, many};

/// Destinations, or ports of them, from which on a source is spread over many.
const MANY: u32 = 8;
/// Strays of a source that mean nothing by themselves: the last retransmissions of a connection whose time was over.
const FEW: u32 = 8;
/// A service sends from one port, whatever it is; two, should one of them be something else.
const SERVICE_PORTS: u32 = 2;
/// Acknowledgements that go on: as many packets of the other direction have reached the sender without coming by here.
const GOES_ON: u32 = 4;
/// Weight of the signs of one pair of hosts that its other direction takes another path, from which on a rule is advised. A handshake whose
/// answer never came by here is enough: whoever sends with another's address, or his own, cannot keep the answer from coming by. Replies
/// must be of two connections. What is in mid-stream alone is never enough: anybody can send it.
const ENOUGH: u32 = 2;
/// Connections in a minute from which on replies nobody asked for here are the echo of a flood rather than a client's attempts.
const FLOOD_PER_MINUTE: u64 = 10;

/// A source of strays, and those of its conversations that are remembered.
#[derive(Clone, Debug)]
pub struct Source<'e> {
    pub address: Address,
    pub stranger: &'e Stranger,
    pub conversations: Vec<(&'e FlowKey, &'e Evidence)>,
}

/// Two hosts between which one direction is seen, and the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Who sends the strays, and to whom.
    pub source: Address,
    pub destination: Address,
    pub from_zone: u8,
    pub to_zone: u8,
    /// Ports the strays go to: one for what a client sends, `None` for a server's replies, which go to a port of the client's choice.
    pub port: Option<u16>,
    /// A port of those that were seen.
    pub seen_port: u16,
    /// Port the strays come from.
    pub source_port: u16,
    pub finding: Finding,
    pub connections: u32,
    pub refused: u32,
    pub first: u64,
    pub last: u64,
}

/// A sign in a conversation that its other direction takes another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    None,
    /// Its SYN came by here, no answer did, and the client goes on as if there had been one.
    Handshake,
    /// A SYN-ACK that answers no SYN of here, sent again by a timer that backs off.
    Reply,
    /// In mid-stream, its acknowledgements go on and its data is sent again.
    Stream,
}

impl Sign {
    const fn weight(self) -> u32 {
        match self {
            Self::None | Self::Stream => 0,
            Self::Reply => 1,
            Self::Handshake => ENOUGH,
        }
    }
}

/// What one side has sent, and what the other one.
const fn sides<'e>(source: &Address, key: &FlowKey, evidence: &'e Evidence) -> (&'e Side, &'e Side) {
    if is_low(source, key) { (&evidence.low, &evidence.high) } else { (&evidence.high, &evidence.low) }
}

const fn is_low(source: &Address, key: &FlowKey) -> bool {
    source.bits() == key.low.bits()
}

/// Something of the other direction came by here.
const fn is_answered(own: &Side, other: &Side, evidence: &Evidence) -> bool {
    evidence.has(marks::ANSWERED) || (own.packets > 0 && other.packets > 0)
}

fn sign(source: &Address, key: &FlowKey, evidence: &Evidence) -> Sign {
    let (own, other) = sides(source, key, evidence);
    // Whose answer came by here needs no other path for it.
    if is_answered(own, other, evidence) || own.packets < 2 {
        return Sign::None;
    }
    if evidence.has(marks::ASKED) {
        let backs_off = own.repeated >= 2 && own.backed_off >= 1;
        // Where the server speaks first the client only acknowledges, once more for every time the server repeats itself.
        let acknowledges = own.placed == 0 && own.acks_repeated >= 2;
        let sign = own.ack != 0 && own.resets == 0 && (backs_off || acknowledges);
        return if sign { Sign::Handshake } else { Sign::None };
    }
    let is_reply = evidence.first_flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN | flags::ACK;
    if is_reply && own.syns == own.packets && own.repeated >= 2 && own.backed_off >= 1 {
        return Sign::Reply;
    }
    let tcp_like = own.in_order.saturating_add(own.repeated) >= own.placed / 2;
    if own.acks_forward >= GOES_ON && tcp_like && own.placed > 0 && own.resets == 0 && own.syns == 0 { Sign::Stream } else { Sign::None }
}

/// What a source's strays look like: of each pair of hosts for which that is an asymmetric path, and else of the source as a whole.
#[must_use]
pub fn source(source: &Source<'_>) -> (Vec<Pair>, Finding) {
    let signs: Vec<Sign> = source.conversations.iter().map(|(key, evidence)| sign(&source.address, key, evidence)).collect();
    let living = signs.iter().filter(|sign| **sign != Sign::None).count();
    let stranger = source.stranger;
    let [destinations, ports, own_ports] = [stranger.destinations, stranger.destination_ports, stranger.source_ports].map(Stranger::about);
    let spread = destinations >= MANY || (ports >= MANY && own_ports > SERVICE_PORTS);
    let figures = format!(
        "{} to about {} and {} from about {}",
        many(stranger.packets, "stray packet"),
        many(destinations, "host"),
        many(ports, "port"),
        many(own_ports, "port")
    );
    // Of whoever reaches for many, most must be real.
    if spread && living * 2 <= source.conversations.len() {
        let why = format!("{figures}, of which hardly one is sent again as TCP does: nobody waits for an answer.");
        return (Vec::new(), Finding::new(Looks::Scan, Confidence::High, why));
    }
    let span = (stranger.last.saturating_sub(stranger.first) / 1_000_000_000).max(1);
    let floods = ports >= MANY && u64::from(ports) * 60 > FLOOD_PER_MINUTE * span;
    if (spread || floods) && stranger.data == 0 && signs.iter().all(|sign| matches!(sign, Sign::None | Sign::Reply)) {
        let why =
            format!("{figures}, all of them replies to connections that nobody here has begun: the echo of a flood with invented sources.");
        return (Vec::new(), Finding::new(Looks::Scan, Confidence::Medium, why));
    }
    if stranger.packets < FEW && living == 0 {
        return (Vec::new(), Finding::new(Looks::Unknown, Confidence::Low, format!("{figures}: too few to tell anything from.")));
    }
    (pairs(source, &signs), rest(source, &figures))
}

/// What is left when nothing looks like an asymmetric path.
fn rest(source: &Source<'_>, figures: &str) -> Finding {
    let both = source.conversations.iter().filter(|(_, evidence)| evidence.low.packets > 0 && evidence.high.packets > 0).count();
    if both > 0 {
        let why = format!(
            "{figures}. Both directions came by here, in mid-stream: the connection is older than Weir, or was idle for longer than its \
                           rule remembers it."
        );
        return Finding::new(Looks::Forgotten, Confidence::Medium, why);
    }
    let sides = || source.conversations.iter().map(|(key, evidence)| (sides(&source.address, key, evidence).0, evidence));
    let retried = sides().filter(|(own, _)| own.repeated >= 2 && own.backed_off >= 1).count();
    let answered = sides().any(|(_, evidence)| evidence.has(marks::ANSWERED));
    if answered {
        let why = format!(
            "{figures}, on handshakes whose true answers came by here: somebody who does not see them guesses at their numbers, or sends \
                           with another's address."
        );
        return Finding::new(Looks::Injection, Confidence::Medium, why);
    }
    if retried > 0 {
        let why = format!(
            "{figures}, sent again as TCP does, in mid-stream: a connection older than Weir or idle for longer than its rule remembers it. \
                           The first sign of another path would look the same."
        );
        return Finding::new(Looks::Forgotten, Confidence::Low, why);
    }
    let why = format!("{figures}, none of them sent again as TCP does.");
    Finding::new(Looks::Scan, Confidence::Low, why)
}

/// The pairs of hosts with a sign of an asymmetric path.
fn pairs(source: &Source<'_>, signs: &[Sign]) -> Vec<Pair> {
    let mut pairs: Vec<(Pair, u32, [u32; 3])> = Vec::new();
    for ((key, evidence), sign) in source.conversations.iter().zip(signs) {
        if *sign == Sign::None {
            continue;
        }
        let low = is_low(&source.address, key);
        let (destination, source_port, seen_port) = if low {
            (key.high, u16::from_be_bytes(key.low_port), u16::from_be_bytes(key.high_port))
        } else {
            (key.low, u16::from_be_bytes(key.high_port), u16::from_be_bytes(key.low_port))
        };
        // A pair whose answers do come by here has no other path for them.
        let answered = source.conversations.iter().any(|(other, evidence)| {
            let (own, others) = sides(&source.address, other, evidence);
            (other.low, other.high) == (key.low, key.high) && is_answered(own, others, evidence)
        });
        if answered {
            continue;
        }
        // Whoever asks is the client; in mid-stream the lower port is the service's.
        let replies = *sign == Sign::Reply || (*sign == Sign::Stream && source_port < seen_port);
        let port = (!replies).then_some(seen_port);
        let own = sides(&source.address, key, evidence).0;
        let known = pairs.iter_mut().find(|(pair, ..)| pair.destination == destination && pair.port == port);
        let (pair, weight, kinds) = match known {
            Some(known) => known,
            None => {
                let finding = Finding::new(Looks::Asymmetric, Confidence::Low, String::new());
                let (from_zone, to_zone) = (evidence.from_zone, evidence.to_zone);
                let (connections, refused, first, last) = (0, 0, evidence.first, evidence.last);
                let pair = Pair {
                    source: source.address,
                    destination,
                    from_zone,
                    to_zone,
                    port,
                    seen_port,
                    source_port,
                    finding,
                    connections,
                    refused,
                    first,
                    last,
                };
                pairs.push((pair, 0, [0; 3]));
                let Some(added) = pairs.last_mut() else { continue };
                added
            }
        };
        pair.connections += 1;
        pair.refused = pair.refused.saturating_add(own.packets);
        (pair.first, pair.last) = (pair.first.min(evidence.first), pair.last.max(evidence.last));
        *weight += sign.weight();
        kinds[usize::from(*sign == Sign::Reply) + 2 * usize::from(*sign == Sign::Stream)] += 1;
    }
    pairs.into_iter().map(|(pair, weight, kinds)| judged(pair, weight, kinds, source.stranger)).collect()
}

fn judged(pair: Pair, weight: u32, [handshakes, replies, streams]: [u32; 3], stranger: &Stranger) -> Pair {
    let seen = match (handshakes, replies, streams) {
        (1.., _, _) => format!("{} went on, as TCP does, after a SYN whose answer never came by here", many(handshakes, "connection")),
        (0, 1.., _) => format!(
            "{} of connections whose SYN never came by here were sent again as TCP does",
            many(replies, "reply").replace("replys", "replies")
        ),
        _ => format!(
            "{} in mid-stream acknowledged more and more of what never came by here. Anybody can send that; a new connection would tell",
            many(streams, "connection")
        ),
    };
    let confidence = if weight >= ENOUGH { Confidence::Medium } else { Confidence::Low };
    let more = if stranger.conversations >= CONVERSATIONS { "; the source has more conversations than are followed" } else { "" };
    let why = format!("Of {} one direction alone was seen: {seen}{more}.", many(pair.connections, "connection"));
    Pair { finding: Finding { looks: Looks::Asymmetric, confidence, why }, ..pair }
}
