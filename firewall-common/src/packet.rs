//! How the pipeline reads a frame, and changes one that passes. Nothing here panics.

use crate::{
    normalize::checksum,
    parse::{self, Descriptor},
    reason::Reason,
    wire::quote,
};

/// Room for the variable part of a header, 40 bytes at most, or for a whole TCP header, rounded up to a power of two.
pub const OPTIONS_ROOM: usize = 64;

/// Access to a frame, from its first link-layer byte. What is changed is not read again: a reader may show the frame as it came.
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

    /// Copies `length` bytes (1 to 64) from offset `at` to the front of `buffer`; false when they are not all there.
    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool;

    /// Ones' complement sum (RFC 1071) of `length` bytes from offset `at`, in words as the machine loads them and folded to 32 bits; `None`
    /// when they are not all there.
    fn sum(&self, at: u32, length: u32) -> Option<u32> {
        let mut sum = 0;
        let even = length & !1;
        let mut position = 0;
        while position < even {
            sum += u64::from(u16::from_ne_bytes(*self.read::<2>(at.checked_add(position)?)?));
            position += 2;
        }
        if even != length {
            let [last] = *self.read::<1>(at.checked_add(even)?)?;
            sum += u64::from(u16::from_ne_bytes([last, 0]));
        }
        Some(u32::from(checksum::fold(sum)))
    }

    /// Puts a changed TCP header of `length` bytes (20 to 60) back at `at`. Its checksum is mended by `difference`
    /// ([`checksum::mended`]), or stays as it is when there is none. False when the frame could not be written; so it is where nothing
    /// can.
    fn store_header(&self, _at: u32, _header: &[u8; OPTIONS_ROOM], _length: u32, _difference: Option<u32>) -> bool {
        false
    }

    /// Overwrites four bytes at `at`, and no checksum; false as above.
    fn store_word(&self, _at: u32, _bytes: [u8; 4]) -> bool {
        false
    }

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
