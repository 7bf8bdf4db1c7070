//! ICMP (RFC 792) and ICMPv6 (RFC 4443), as far as flows need them.

use crate::{parse::Kind, wire::protocol};

/// Bytes read: type, code, checksum, identifier, sequence number.
pub const HEADER: u32 = 8;

pub mod v4 {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
}

pub mod v6 {
    pub const UNREACHABLE: u8 = 1;
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Types below this one are errors (RFC 4443 §2.1).
    pub const FIRST_INFORMATIONAL: u8 = 128;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query, report, done (RFC 2710).
    pub const LISTENER_QUERY: u8 = 130;
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation to redirect (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2 (RFC 3810).
    pub const LISTENER_REPORT: u8 = 143;
}

/// Which of the two kinds of echo a message is, if it is one.
#[inline(always)]
#[must_use]
pub const fn echo(protocol: u8, kind: u8) -> Option<Kind> {
    match (protocol, kind) {
        (protocol::ICMP, v4::ECHO_REQUEST) | (protocol::ICMPV6, v6::ECHO_REQUEST) => Some(Kind::EchoRequest),
        (protocol::ICMP, v4::ECHO_REPLY) | (protocol::ICMPV6, v6::ECHO_REPLY) => Some(Kind::EchoReply),
        _ => None,
    }
}

/// True for ICMPv6 that belongs to one link: neighbour discovery and multicast listener messages. Whether such a message is sound,
/// [`crate::neighbour`] tells.
#[inline(always)]
#[must_use]
pub const fn is_link_scope_v6(kind: u8) -> bool {
    let neighbour = kind >= v6::ROUTER_SOLICITATION && kind <= v6::REDIRECT;
    let listener = (kind >= v6::LISTENER_QUERY && kind <= v6::LISTENER_DONE) || kind == v6::LISTENER_REPORT;
    neighbour || listener
}

/// True for errors that a network sends about a packet of one of its users' flows, and that quote it.
///
/// Source quench and redirect quote a packet too, and are not among them: hosts ignore the one (RFC 6633 §3), and the other is for the
/// link of the router that sends it, where whoever believes it sends elsewhere (RFC 1812 §5.2.7.2). Policy decides over both.
#[inline(always)]
#[must_use]
pub const fn is_error(protocol: u8, kind: u8) -> bool {
    if protocol == protocol::ICMP {
        matches!(kind, v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM)
    } else {
        kind >= v6::UNREACHABLE && kind <= v6::PARAMETER_PROBLEM
    }
}

/// True for messages about which no error may be sent (RFC 1122 §3.2.2, RFC 4443 §2.4 e): one that quotes them is no host's.
#[inline(always)]
#[must_use]
pub const fn never_quoted(protocol: u8, kind: u8) -> bool {
    if protocol == protocol::ICMP {
        is_error(protocol, kind) || kind == v4::SOURCE_QUENCH || kind == v4::REDIRECT
    } else {
        kind < v6::FIRST_INFORMATIONAL || kind == v6::REDIRECT
    }
}
