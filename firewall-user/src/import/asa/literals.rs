//! The words an ASA has for ports, ICMP types and protocols (Cisco ASA general operations CLI configuration guide, "Addresses, Protocols,
//! and Ports").

use crate::policy::service::{ICMP, ICMPV6};

const PORTS: [(&str, u16); 76] = [
    ("aol", 5190),
    ("bgp", 179),
    ("biff", 512),
    ("bootpc", 68),
    ("bootps", 67),
    ("chargen", 19),
    ("cifs", 3020),
    ("citrix-ica", 1494),
    ("cmd", 514),
    ("ctiqbe", 2748),
    ("daytime", 13),
    ("discard", 9),
    ("dnsix", 195),
    ("domain", 53),
    ("echo", 7),
    ("exec", 512),
    ("finger", 79),
    ("ftp", 21),
    ("ftp-data", 20),
    ("gopher", 70),
    ("h323", 1720),
    ("hostname", 101),
    ("http", 80),
    ("https", 443),
    ("ident", 113),
    ("imap4", 143),
    ("irc", 194),
    ("isakmp", 500),
    ("kerberos", 750),
    ("klogin", 543),
    ("kshell", 544),
    ("ldap", 389),
    ("ldaps", 636),
    ("login", 513),
    ("lotusnotes", 1352),
    ("lpd", 515),
    ("mobile-ip", 434),
    ("nameserver", 42),
    ("netbios-dgm", 138),
    ("netbios-ns", 137),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("nntp", 119),
    ("ntp", 123),
    ("pcanywhere-data", 5631),
    ("pcanywhere-status", 5632),
    ("pim-auto-rp", 496),
    ("pop2", 109),
    ("pop3", 110),
    ("pptp", 1723),
    ("radius", 1645),
    ("radius-acct", 1646),
    ("rip", 520),
    ("rpc", 111),
    ("rsh", 514),
    ("rtsp", 554),
    ("secureid-udp", 5510),
    ("sip", 5060),
    ("smtp", 25),
    ("snmp", 161),
    ("snmptrap", 162),
    ("sqlnet", 1521),
    ("ssh", 22),
    ("sunrpc", 111),
    ("syslog", 514),
    ("tacacs", 49),
    ("talk", 517),
    ("telnet", 23),
    ("tftp", 69),
    ("time", 37),
    ("uucp", 540),
    ("vxlan", 4789),
    ("who", 513),
    ("whois", 43),
    ("www", 80),
    ("xdmcp", 177),
];

const PROTOCOLS: [(&str, u8); 20] = [
    ("ah", 51),
    ("ahp", 51),
    ("eigrp", 88),
    ("esp", 50),
    ("gre", 47),
    ("icmp", ICMP),
    ("icmp6", ICMPV6),
    ("igmp", 2),
    ("igrp", 9),
    ("ipinip", 4),
    ("ipsec", 50),
    ("nos", 94),
    ("ospf", 89),
    ("pcp", 108),
    ("pim", 103),
    ("pptp", 47),
    ("sctp", 132),
    ("snp", 109),
    ("tcp", 6),
    ("udp", 17),
];

const ICMP_TYPES: [(&str, u8); 19] = [
    ("alternate-address", 6),
    ("conversion-error", 31),
    ("echo", 8),
    ("echo-reply", 0),
    ("information-reply", 16),
    ("information-request", 15),
    ("mask-reply", 18),
    ("mask-request", 17),
    ("mobile-redirect", 32),
    ("parameter-problem", 12),
    ("redirect", 5),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("source-quench", 4),
    ("time-exceeded", 11),
    ("timestamp-reply", 14),
    ("timestamp-request", 13),
    ("traceroute", 30),
    ("unreachable", 3),
];

const ICMPV6_TYPES: [(&str, u8); 16] = [
    ("echo", 128),
    ("echo-reply", 129),
    ("membership-query", 130),
    ("membership-reduction", 132),
    ("membership-report", 131),
    ("neighbor-advertisement", 136),
    ("neighbor-redirect", 137),
    ("neighbor-solicitation", 135),
    ("packet-too-big", 2),
    ("parameter-problem", 4),
    ("redirect", 137),
    ("router-advertisement", 134),
    ("router-renumbering", 138),
    ("router-solicitation", 133),
    ("time-exceeded", 3),
    ("unreachable", 1),
];

fn find<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn port(word: &str) -> Option<u16> {
    number(word).or_else(|| find(&PORTS, word))
}

/// A protocol but `ip`, which is every protocol.
pub(super) fn protocol(word: &str) -> Option<u8> {
    number(word).filter(|number| *number != 0).or_else(|| find(&PROTOCOLS, word))
}

pub(super) fn icmp_type(protocol: u8, word: &str) -> Option<u8> {
    number(word).or_else(|| find(if protocol == ICMP { &ICMP_TYPES[..] } else { &ICMPV6_TYPES }, word))
}
