//! How the pipeline reads a frame. Nothing here writes, and nothing panics.

use crate::{
    parse::{self, Descriptor},
    reason::Reason,
    wire::quote,
};

/// Room for the variable part of a header: 40 bytes at most, rounded up to a power of two.
pub const OPTIONS_ROOM: usize = 64;

/// Read access to a frame, from its first link-layer byte.
pub trait Packet {
    /// Length of the whole frame in bytes.
    fn length(&self) -> u32;

    /// True when the frame is at least `end` bytes long. Most frames lie in one buffer, whose end is at hand: then this is cheaper than
    /// [`Packet::length`].
    fn holds(&self, end: u32) -> bool {
        end <= self.length()
    }

    /// The `N` bytes from offset `at`, or `None` when they do not all lie in the readable part of the frame. They are not copied: in the
    /// kernel a copy would be on the stack, of which there is little.
    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]>;

    /// Copies `length` bytes (1 to 40) from offset `at` to the front of `buffer`; false when they are not all there.
    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool;

    /// Stage *parse*: [`parse::parse`], which see. The kernel side makes of it a function of its own, which the verifier checks once.
    ///
    /// # Errors
    /// The reason to drop the frame for.
    fn describe(&self, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason>
    where
        Self: Sized,
    {
        parse::parse(self, egress, descriptor)
    }

    /// Reads the packet that an ICMP error quotes: [`quote::read`], which see. The kernel side makes of it a function of its own too.
    ///
    /// # Errors
    /// The reason to drop the error for.
    fn quote(&self, descriptor: &mut Descriptor) -> Result<(), Reason>
    where
        Self: Sized,
    {
        quote::read(self, descriptor)
    }

    /// True when the headers may lie beyond the readable part although the frame holds them (a driver's second buffer).
    fn headers_cut(&self, end: u32) -> bool;
}

/// Why bytes up to `end` could not be read: they are missing, or out of reach.
#[inline(always)]
pub fn missing<P: Packet>(packet: &P, end: u32) -> Reason {
    if packet.headers_cut(end) { Reason::HeadersNotLinear } else { Reason::FrameTooShort }
}

impl Packet for &[u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        let at = at as usize;
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        let (at, length) = (at as usize, length as usize);
        match (self.get(at..at.saturating_add(length)), buffer.get_mut(..length)) {
            (Some(from), Some(to)) => {
                to.copy_from_slice(from);
                true
            }
            _ => false,
        }
    }

    fn headers_cut(&self, _end: u32) -> bool {
        false
    }
}
