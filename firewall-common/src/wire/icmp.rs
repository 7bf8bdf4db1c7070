//! ICMP (RFC 792) and ICMPv6 (RFC 4443), as far as flows need them.

/// Bytes read: type, code, checksum, identifier, sequence number.
pub const HEADER: u32 = 8;

pub mod v4 {
    pub const ECHO_REPLY: u8 = 0;
    pub const ECHO_REQUEST: u8 = 8;
}

pub mod v6 {
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query, report, done (RFC 2710).
    pub const LISTENER_QUERY: u8 = 130;
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation to redirect (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2 (RFC 3810).
    pub const LISTENER_REPORT: u8 = 143;
}

/// True for ICMPv6 that a link cannot do without and that no router forwards: neighbour discovery with the hop limit RFC 4861 demands
/// (nothing from beyond the link can have it), and multicast listener messages, which have hop limit 1 (RFC 2710 §3).
#[inline(always)]
#[must_use]
pub const fn is_link_scope_v6(kind: u8, code: u8, hop_limit: u8) -> bool {
    let neighbour = kind >= v6::ROUTER_SOLICITATION && kind <= v6::REDIRECT && hop_limit == 255;
    let listener = ((kind >= v6::LISTENER_QUERY && kind <= v6::LISTENER_DONE) || kind == v6::LISTENER_REPORT) && hop_limit == 1;
    code == 0 && (neighbour || listener)
}
