//! Option lists of IPv4 (RFC 791 §3.1) and TCP (RFC 9293 §3.1): one walk serves both, for both are kind 0 (end), kind 1 (no operation), or
//! kind, length, data.

use crate::{
    packet::OPTIONS_ROOM,
    verifier::{self, Step, forgotten},
};

/// Bytes an option list can have: four-bit header length in words, less the fixed five words.
pub const MOST: u32 = 40;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// What to do with one option: `data` begins with the kind byte. Whatever a visitor comes to hold one option must be able to lead to: see
/// [`Step::forget`].
pub trait Visit {
    /// Looks at the option that begins at `at` in `buffer` and is `length` bytes long (at least 2).
    fn option(&mut self, kind: u8, length: u8, buffer: &[u8; OPTIONS_ROOM], at: u32);
}

struct Walk<'a, V> {
    buffer: &'a [u8; OPTIONS_ROOM],
    at: &'a mut u32,
    end: u32,
    malformed: u32,
    visitor: &'a mut V,
}

/// The next option's offset. It is at most the buffer's size, which the mask makes plain to a verifier that has forgotten where it began.
#[inline(always)]
#[must_use]
pub const fn advance(at: u32, by: u32) -> u32 {
    (at + by) % OPTIONS_ROOM as u32
}

impl<V: Visit> Step for Walk<'_, V> {
    #[inline(always)]
    fn forget(&mut self) {
        *self.at = forgotten(*self.at);
        self.malformed = forgotten(self.malformed);
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let at = *self.at;
        if at >= self.end {
            return false;
        }
        let kind = byte(self.buffer, at);
        if kind == END {
            return false;
        }
        if kind == NO_OPERATION {
            *self.at = advance(at, 1);
            return true;
        }
        let length = byte(self.buffer, at + 1);
        if at + 1 >= self.end || length < 2 || at + u32::from(length) > self.end {
            self.malformed = 1;
            return false;
        }
        self.visitor.option(kind, length, self.buffer, at);
        *self.at = advance(at, u32::from(length));
        true
    }
}

/// One byte of the buffer, at an offset the walk has checked.
#[inline(always)]
#[must_use]
pub fn byte(buffer: &[u8; OPTIONS_ROOM], at: u32) -> u8 {
    // Masked to the buffer's size: in bounds whatever `at` is.
    buffer[at as usize % OPTIONS_ROOM]
}

/// Four bytes of the buffer as a number in host order.
#[inline(always)]
#[must_use]
pub fn word(buffer: &[u8; OPTIONS_ROOM], at: u32) -> u32 {
    u32::from_be_bytes([byte(buffer, at), byte(buffer, at + 1), byte(buffer, at + 2), byte(buffer, at + 3)])
}

/// Walks `length` bytes (at most [`MOST`]) of `buffer`; false when an option's length is impossible.
#[inline(always)]
pub fn walk<V: Visit>(buffer: &[u8; OPTIONS_ROOM], length: u32, visitor: &mut V) -> bool {
    walk_by(&mut 0, buffer, length, visitor)
}

/// As [`walk`], with its place at `at`. A verifier that follows the values on the stack looks at every place there may be; in a map's memory
/// it looks at all of them at once.
#[inline(always)]
pub fn walk_by<V: Visit>(at: &mut u32, buffer: &[u8; OPTIONS_ROOM], length: u32, visitor: &mut V) -> bool {
    *at = 0;
    let mut walk = Walk { buffer, at, end: length % OPTIONS_ROOM as u32, malformed: 0, visitor };
    verifier::repeat(MOST, &mut walk);
    walk.malformed == 0
}
