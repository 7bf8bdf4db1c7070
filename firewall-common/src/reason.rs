//! The one list of drop reasons. Counters, `weir counters`, events and the documentation all come from it.
//!
//! Names are those of the ASA's `show asp drop` where it has one. A number is never used again: a reason that goes leaves a gap.

/// Where in the packet's path a reason is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Parse,
    Fragment,
    Sanity,
    Relate,
    Lookup,
    Classify,
    Admit,
    Guard,
    Track,
    Normalize,
}

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $stage:ident $help:literal;)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $help] $variant = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name shown to people and programs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Help for a person who wonders why a packet died.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// The stage of the packet's path that sets it.
            #[must_use]
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)+ }
            }

            /// The reason with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    1 FrameTooShort "frame-too-short" Parse "The frame ends inside a header that its earlier headers announce.";
    2 HeadersNotLinear "headers-not-linear" Parse "The driver put part of the headers outside the first buffer, where they cannot be read in bounds.";
    3 L2Acl "l2-acl" Parse "Neither IP nor one of the link protocols that pass (ARP, LLDP, LACP, EAPOL, spanning tree): nothing could be checked.";
    4 VlanDepth "vlan-depth" Parse "More VLAN tags than the two that are read.";
    5 InvalidIpHeader "invalid-ip-header" Parse "IP version or header length impossible for the frame's type (RFC 791 §3.1, RFC 8200 §3).";
    6 InvalidIpLength "invalid-ip-length" Parse "The IP length is shorter than the headers or longer than the frame (RFC 1812 §5.2.2, RFC 8200 §3).";
    7 BadIpChecksum "bad-ip-cksum" Parse "The IPv4 header checksum is wrong (RFC 1812 §5.2.2).";
    8 IpOptionSourceRoute "ip-source-route" Parse "An IPv4 source-route option, or an IPv6 routing header of type 0 or with segments left, but for Mobile IPv6's (RFC 5095, RFC 7126, RFC 8754).";
    9 BadIpOptions "bad-ip-options" Parse "The IPv4 option list does not add up (RFC 791 §3.1).";
    10 Ipv6ExtensionChain "ipv6-extension-chain" Parse "More IPv6 extension headers than are walked, or one out of place (RFC 8200 §4.1, RFC 7112).";
    11 InvalidTcpHeaderLength "invalid-tcp-hdr-length" Parse "The TCP data offset is below five words or past the end of the packet (RFC 9293 §3.1).";
    12 BadTcpOptions "tcp-bad-option-list" Parse "A TCP option has an impossible length (RFC 9293 §3.1).";
    13 InvalidUdpLength "invalid-udp-length" Parse "The UDP length is below eight or past the end of the packet (RFC 768).";
    14 FragmentTiny "fragment-tiny" Fragment "A first fragment without all headers up to the transport header's end, or a later one inside a TCP header (RFC 1858, RFC 3128, RFC 7112).";
    15 FragmentNoFirst "fragment-no-first" Fragment "A later fragment of a datagram whose first fragment has not passed: it has no ports to be judged by.";
    16 FragmentTooLong "fragment-too-long" Fragment "The fragment ends past the largest possible datagram (ping of death; RFC 791 §3.1, RFC 8200 §4.5).";
    17 FragmentInsertFailed "fragment-insert-failed" Fragment "The datagram's fragments could not be remembered.";
    18 LandAttack "land-attack" Sanity "Source and destination address are the same.";
    19 Martian "martian" Sanity "A source or destination address that no packet on a network may carry (RFC 1812 §5.3.7, RFC 6890).";
    20 BadTcpFlags "tcp-bad-flags" Sanity "A set of TCP flags that no sender produces (RFC 9293 §3.10.7).";
    21 PortZero "port-zero" Sanity "TCP, UDP or SCTP port 0 (RFC 6335 §6).";
    22 NoRoute "no-route" Classify "The route lookup found no way to the destination.";
    23 AclDrop "acl-drop" Classify "A rule says drop, or no rule matches: the default is to drop.";
    24 NoPolicy "no-policy" Classify "No policy is in force yet.";
    25 NotOurInterface "unknown-interface" Classify "The packet came by an interface that is in no zone.";
    26 FlowTableFull "flow-table-full" Admit "The table of established flows has no room.";
    27 FlowInsertFailed "flow-insert-failed" Admit "The table of embryonic flows refused the entry.";
    29 TcpNotSyn "tcp-not-syn" Admit "The first packet of a TCP flow is not a SYN (RFC 9293 §3.5).";
    30 Tcp3whsFailed "tcp-3whs-failed" Track "A packet that has no place in the three-way handshake (RFC 9293 §3.5).";
    31 TcpAckSynDiff "tcp-ack-syn-diff" Track "A SYN-ACK acknowledges something other than the SYN (RFC 9293 §3.10.7.3).";
    32 TcpSeqPastWindow "tcp-seq-past-win" Track "The segment begins past the window its receiver has granted (RFC 9293 §3.10.7.4).";
    33 TcpInvalidAck "tcp-invalid-ack" Track "The acknowledgement covers data that was never seen (RFC 5961 §5).";
    34 TcpRstOutOfOrder "tcp-rstfin-ooo" Track "A reset outside the window (RFC 5961 §3).";
    35 TcpSynOutOfOrder "tcp-syn-ooo" Track "A SYN from the responder of a live flow (RFC 5961 §4).";
    36 TcpSynAckOutOfOrder "tcp-synack-ooo" Track "A SYN-ACK on a live flow that answers no SYN (RFC 5961 §4, RFC 9293 §3.5.1).";
    37 TcpDataPastFin "tcp-data-past-fin" Track "New data after the sender's FIN (RFC 9293 §3.6).";
    38 WrongZone "wrong-zone" Lookup "A packet of a known flow, or a fragment of a known datagram, came from a zone that is not its sender's: spoofed, or the route has changed sides.";
    39 IcmpUnsolicited "icmp-unsolicited" Admit "An ICMP echo reply that answers no request (RFC 792, RFC 4443 §4.2).";
    41 Reject "rejected" Classify "A rule says reject: the packet was refused with an answer to its sender.";
    42 IcmpErrorOtherFlow "inspect-icmp-error-different-embedded-conn" Relate "An ICMP error that quotes a flow its receiver has no part in, or that comes from the quoted packet's own side (RFC 5927).";
    43 IcmpErrorOffWindow "icmp-error-off-window" Relate "An ICMP error that quotes a TCP segment its receiver cannot have sent lately (RFC 5927 §4.1).";
    44 IcmpErrorBadQuote "icmp-error-bad-quote" Relate "An ICMP error that quotes less than eight bytes of transport, or an ICMP error (RFC 792, RFC 1122 §3.2.2, RFC 4443 §2.4).";
    45 NeighbourInvalid "invalid-neighbour-discovery" Sanity "A neighbour discovery or multicast listener message that every receiver must refuse (RFC 4861 §6.1 and §7.1, RFC 3810 §6.2).";
    46 IpsecSpiZero "ipsec-spi-zero" Parse "ESP or AH with SPI 0, which is never on a wire (RFC 4303 §2.1, RFC 4302 §2.4).";
    47 InvalidIpsecHeader "bad-ipsec-header" Parse "The packet ends inside its ESP or AH header, or AH's length is impossible (RFC 4303 §2, RFC 4302 §2.2).";
    48 InvalidGreHeader "bad-gre-header" Parse "A GRE version, flag or length that no sender uses (RFC 2784 §2, RFC 2890, RFC 2637 §4.1).";
    49 InvalidSctpHeader "bad-sctp-header" Parse "The packet ends inside SCTP's common header (RFC 9260 §3.1).";
    50 FragmentOverlap "fragment-overlap" Fragment "The fragment repeats part of what has passed of its datagram, or one did so before (teardrop; RFC 5722, RFC 8200 §4.5).";
    51 FragmentDuplicate "fragment-duplicate" Fragment "All of the fragment has passed before (RFC 8200 §4.5 lets it be dropped alone).";
    52 FragmentBadLength "fragment-bad-length" Fragment "A fragment of no bytes, one before the last that is no multiple of eight long, or one past or against the end its datagram's last one declared (RFC 791 §3.2, RFC 8200 §4.5).";
    53 FragmentDf "fragment-df" Fragment "A later fragment with \"don't fragment\" set (RFC 791 §2.3).";
    54 FragmentTooMany "fragment-too-many" Fragment "The datagram's fragments leave more holes than are remembered.";
    55 FragmentFlowGone "fragment-flow-gone" Fragment "The flow of its datagram's first fragment is over, or the policy that let that pass without one has changed.";
    56 FragmentBusy "fragment-busy" Fragment "Another CPU held the datagram's record for too long.";
    57 BadTcpChecksum "tcp-bad-cksum" Normalize "The TCP checksum is wrong, or could not be verified (RFC 9293 §3.1).";
    58 TcpReservedSet "tcp-reserved-set" Normalize "Reserved bits are set in the TCP header, and the profile wants none (RFC 9293 §3.1).";
    59 TcpSynData "tcp-syn-data" Normalize "A SYN with data, under a profile that wants none (RFC 9293 §3.4, RFC 7413).";
    60 TcpSynAckData "tcp-synack-data" Normalize "A SYN-ACK with data, under a profile that wants none (RFC 9293 §3.4, RFC 7413).";
    61 TcpMssExceeded "tcp-mss-exceeded" Normalize "More data than the receiver's MSS allows in one segment (RFC 9293 §3.7.1).";
    62 TcpPawsFail "tcp-paws-fail" Normalize "The timestamp is older than one that has passed (PAWS, RFC 7323 §5).";
    63 TcpBadRetransmission "tcpnorm-rexmit-bad" Normalize "Data sent again is not the data that was sent (RFC 9293 §3.8.1).";
    64 TcpWindowVariation "tcpnorm-win-variation" Normalize "The receiver took back window it had granted; the connection is closed (RFC 9293 §3.8.6).";
    65 TcpOutOfOrder "tcp-discarded-ooo" Normalize "Data after a hole, under a profile that wants segments in order (RFC 9293 §3.10.7.4).";
    66 TcpMd5 "tcp-md5" Normalize "An MD5 signature on a connection whose SYNs did not negotiate one (RFC 2385 §2.0).";
    67 TcpBadSack "tcp-bad-sack" Normalize "A selective acknowledgement that cannot be: malformed, or of data that was never sent (RFC 2018 §3).";
    68 TcpOption "tcp-option" Normalize "A TCP option that the profile refuses (RFC 9293 §3.2).";
    69 TcpMssTooSmall "tcp-mss-too-small" Normalize "The SYN announces a smaller MSS than the profile allows (RFC 9293 §3.7.1, CVE-2019-11479).";
    70 RewriteFailed "rewrite-failed" Normalize "The packet could not be changed as its profile wants.";
    71 HistoryInsertFailed "history-insert-failed" Normalize "The table of what the normalizer remembers of flows refused the entry.";
    72 FlowLimit "conn-limit" Admit "The rule has as many flows as its limits allow.";
    73 EmbryonicLimit "embryonic-conn-limit" Admit "The rule has as many flows not yet confirmed by both sides as its limits allow.";
    74 NewFlowRate "conn-rate-limit" Admit "As many flows of the rule have begun in this second as its limits allow.";
    75 SourceFlowLimit "source-conn-limit" Admit "The source has as many flows as the rule's limits allow each.";
    76 SourceEmbryonicLimit "source-embryonic-conn-limit" Admit "The source has as many flows not yet confirmed by both sides as the rule's limits allow each.";
    77 SourceNewFlowRate "source-conn-rate-limit" Admit "As many flows of the source have begun in this second as the rule's limits allow each.";
    78 LimitUnknown "limit-unknown" Admit "What counts against the rule's limits could not be looked up: the table of sources refused the entry.";
    81 GuardNoTrailer "guard-no-trailer" Guard "Data without the trailer of IPsec over TCP, on a flow whose guard \"ctcp\" it has proven to: forged, or not what is bypassed here.";
    82 GuardBadTrailer "guard-bad-trailer" Guard "The trailer of IPsec over TCP has the right mark and is wrong elsewhere.";
    83 GuardEspShort "guard-esp-short" Guard "Too little for an ESP or AH packet, where guard \"esp\" wants one (RFC 4303 §2, RFC 4302 §2).";
    84 GuardEspSpi "guard-esp-spi" Guard "A reserved SPI, or one that is neither in use nor begun as a new association is (RFC 4303 §2.1).";
    85 GuardEspSequenceZero "guard-esp-seq-zero" Guard "ESP or AH with sequence number 0, with which no association begins (RFC 4303 §3.3.3).";
    86 GuardEspReplay "guard-esp-replay" Guard "The ESP or AH packet has passed before, or is too old to tell (RFC 4303 §3.4.3).";
    87 GuardEspJump "guard-esp-jump" Guard "The ESP or AH sequence number lies further ahead than can have been lost.";
    88 GuardIkeBad "guard-ike-bad" Guard "What stands where IKE should is no IKE message (RFC 7296 §3.1).";
    89 GuardIkeRate "guard-ike-rate" Guard "More IKE messages of one direction in a second than a guarded flow may carry.";
    90 GuardInsertFailed "guard-insert-failed" Guard "The table of what guards remember of flows refused the entry.";
}

impl Reason {
    /// Counters a table indexed by reason has: one for every number, so that no bound is left for a compiler to reason away and a verifier
    /// to miss.
    pub const SLOTS: usize = 256;

    /// Index of this reason's counter, below [`Reason::SLOTS`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
