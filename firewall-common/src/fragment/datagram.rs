//! One datagram in fragments: what has passed of it, and what its later fragments inherit.
//!
//! ## Two CPUs, one datagram
//! Two fragments may be on two CPUs, and the kernel allows no `bpf_spin_lock` in an LRU map. So a record is guarded by a word of its own that
//! is taken with compare-and-swap and given back with an exchange; both order memory. It is held for the few hundred instructions of
//! [`Fragment::enter`]. A fragment that finds it held for longer than a bounded number of attempts is dropped as `fragment-busy`.
//!
//! A race remains: the map may give a record that is being changed to another datagram. That takes the record looked up a moment ago to be
//! the one used longest ago, which it is only when all others are in use at this moment too. [`Fragment::identity`] tells a record that
//! has changed hands before; one that does so while it is being changed may keep a range of the old datagram. Then a fragment of the new one
//! is taken for a duplicate or an overlap and dropped, or, if the range is overwritten, one is missed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::cover::{Cover, Fit, UNIT};
use crate::{
    config::FRAGMENT_LIFETIME,
    flow::Address,
    parse::{Descriptor, Kind},
    reason::Reason,
    time::Nanos,
};

/// One datagram in fragments. 40 bytes, no padding.
///
/// RFC 791 §3.2 tells datagrams apart by the protocol too; RFC 8200 §4.5 does not, and its later fragments may name any next header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey {
    pub source: Address,
    pub destination: Address,
    /// Identification in host order; IPv4's 16 bits are extended with zeros.
    pub identification: u32,
    /// IPv4's protocol number; 0 for IPv6.
    pub protocol: u8,
    pub reserved: [u8; 3],
}

impl FragmentKey {
    #[inline(always)]
    #[must_use]
    pub const fn of(descriptor: &Descriptor) -> Self {
        Self {
            source: *descriptor.source(),
            destination: *descriptor.destination(),
            identification: descriptor.piece.identification,
            protocol: if descriptor.v4 { descriptor.key.protocol } else { 0 },
            reserved: [0; 3],
        }
    }

    /// A digest that tells two datagrams apart well enough to notice a record that changed hands.
    #[inline(always)]
    #[must_use]
    pub fn identity(&self) -> u32 {
        let [a, b, c, d, e]: [u64; 5] = zerocopy::transmute!(*self);
        let mixed = (a ^ b.wrapping_mul(5) ^ (c << 1) ^ d.wrapping_mul(9) ^ e.rotate_left(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }
}

/// What is remembered of a datagram. The record is made by its first fragment that passes, or, where those may come before the first, by
/// any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fragment {
    /// Taken with compare-and-swap; 0 when free.
    pub lock: u32,
    /// [`FragmentKey::identity`] of the record's key.
    pub identity: u32,
    /// When the record was made.
    pub since: u64,
    /// Generation of the policy that judged the first fragment.
    pub generation: u32,
    /// Bytes of the whole datagram, once its last fragment has passed; 0 before.
    pub end: u32,
    /// TCP: the sequence number of the datagram's byte 0, were the header's bytes counted; see [`datagram_flags::TEACHES`].
    pub base: u32,
    /// Stable number of the rule that let the first fragment pass.
    pub rule: u16,
    /// [`datagram_flags`].
    pub flags: u8,
    /// Zone its fragments come from.
    pub zone: u8,
    /// What the first fragment's flow is known by, as in the descriptor: ports in network order, source first.
    pub source_port: [u8; 2],
    pub destination_port: [u8; 2],
    pub service: [u8; 2],
    pub protocol: u8,
    /// [`Kind`] of the first fragment as a number.
    pub kind: u8,
    pub cover: Cover,
}

/// Bits of [`Fragment::flags`].
pub mod datagram_flags {
    /// Its first fragment has passed.
    pub const FIRST: u8 = 1 << 0;
    /// A fragment overlapped another one in part, or contradicted the end: nothing more of the datagram passes.
    pub const POISONED: u8 = 1 << 1;
    /// All of it has passed.
    pub const COMPLETE: u8 = 1 << 2;
    /// The first fragment is of a flow that has a record.
    pub const FLOW: u8 = 1 << 3;
    /// Its first fragment came after others and was dropped.
    pub const DENIED: u8 = 1 << 4;
    /// The first fragment was learned from, so its flow learns how far the segment reaches.
    pub const TEACHES: u8 = 1 << 5;
}

/// The bytes of its datagram that a fragment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: u32,
    pub end: u32,
    pub last: bool,
}

impl Extent {
    #[inline(always)]
    #[must_use]
    pub const fn of(descriptor: &Descriptor) -> Self {
        let start = descriptor.piece.offset;
        Self { start, end: start + descriptor.fragment_length(), last: !descriptor.piece.more }
    }

    /// The unit after its last one.
    #[inline(always)]
    const fn end_unit(&self) -> u32 {
        self.end.div_ceil(UNIT)
    }
}

impl Fragment {
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// True when the record's time is over: it must be treated as if it were not there.
    #[inline(always)]
    #[must_use]
    pub const fn expired(&self, now: Nanos) -> bool {
        now.since(Nanos(self.since)).0 > Nanos::from_millis(FRAGMENT_LIFETIME).0
    }

    /// True when a first fragment begins another datagram. One that has passed whole is its receiver's, and senders use identifications
    /// again (RFC 6864 §3.1); one that lacks a fragment may still lie half-assembled at its receiver.
    #[inline(always)]
    #[must_use]
    pub const fn over(&self, now: Nanos) -> bool {
        self.expired(now) || self.has(datagram_flags::COMPLETE)
    }

    /// Holds a fragment against what has passed. With `take` it has passed then, too.
    ///
    /// Part of what passed sent again with other bytes around it is how a receiver is made to see what nobody checked, so nothing more of
    /// such a datagram passes (RFC 5722 §4, RFC 8200 §4.5). What repeats only what has passed is dropped by itself: networks duplicate.
    ///
    /// # Errors
    /// [`Reason::FragmentOverlap`], [`Reason::FragmentBadLength`], [`Reason::FragmentDuplicate`], [`Reason::FragmentTooMany`].
    #[inline(always)]
    pub fn enter(&mut self, extent: &Extent, take: bool) -> Result<(), Reason> {
        if self.has(datagram_flags::POISONED) {
            return Err(Reason::FragmentOverlap);
        }
        let scan = self.cover.scan(extent.start / UNIT, extent.end_unit());
        let (fit, reach, place) = (scan.fit(), scan.reach(), scan.place());
        if self.contradicts_end(extent, reach) {
            self.flags |= datagram_flags::POISONED;
            return Err(Reason::FragmentBadLength);
        }
        match fit {
            Fit::New => {}
            Fit::Inside => return Err(Reason::FragmentDuplicate),
            Fit::Overlaps => {
                self.flags |= datagram_flags::POISONED;
                return Err(Reason::FragmentOverlap);
            }
        }
        if !take {
            return Ok(());
        }
        let Some(range) = self.cover.add(&place) else { return Err(Reason::FragmentTooMany) };
        if extent.last {
            self.end = extent.end;
        }
        if self.end != 0 && range.start == 0 && u32::from(range.end) * UNIT >= self.end {
            self.flags |= datagram_flags::COMPLETE;
        }
        Ok(())
    }

    /// True for bytes past the end that the last fragment declared, and for a last fragment that declares another end or one before what
    /// has passed.
    #[inline(always)]
    const fn contradicts_end(&self, extent: &Extent, reach: u32) -> bool {
        if self.end != 0 && (extent.end > self.end || (extent.last && extent.end != self.end)) {
            return true;
        }
        extent.last && reach > extent.end_unit()
    }

    /// Only this fragment has passed.
    #[inline(always)]
    pub const fn restart(&mut self, extent: &Extent) {
        self.cover = Cover::of((extent.start / UNIT) as u16, extent.end_unit() as u16);
        self.end = if extent.last { extent.end } else { 0 };
    }

    /// The kind of packet the first fragment was, as far as flows need it.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        const TCP: u8 = Kind::Tcp as u8;
        const UDP: u8 = Kind::Udp as u8;
        const ECHO_REQUEST: u8 = Kind::EchoRequest as u8;
        const ECHO_REPLY: u8 = Kind::EchoReply as u8;
        const ICMP: u8 = Kind::Icmp as u8;
        match self.kind {
            TCP => Kind::Tcp,
            UDP => Kind::Udp,
            ECHO_REQUEST => Kind::EchoRequest,
            ECHO_REPLY => Kind::EchoReply,
            ICMP => Kind::Icmp,
            _ => Kind::Other,
        }
    }
}

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<Fragment>() == 72);
