//! Option lists of IPv4 (RFC 791 §3.1) and TCP (RFC 9293 §3.1): one walk serves both, for both are kind 0 (end), kind 1 (no operation), or
//! kind, length, data.

use crate::{
    packet::OPTIONS_ROOM,
    verifier::{self, Step},
};

/// Bytes an option list can have: four-bit header length in words, less the fixed five words.
pub const MOST: u32 = 40;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// What to do with one option: `data` begins with the kind byte.
pub trait Visit {
    /// Looks at the option that begins at `at` in `buffer` and is `length` bytes long (at least 2).
    fn option(&mut self, kind: u8, length: u8, buffer: &[u8; OPTIONS_ROOM], at: u32);
}

struct Walk<'a, V> {
    buffer: &'a [u8; OPTIONS_ROOM],
    at: u32,
    end: u32,
    malformed: bool,
    visitor: &'a mut V,
}

/// The next option's offset. It is at most [`MOST`], which the mask makes plain to a verifier that has forgotten where it began.
#[inline(always)]
const fn advance(at: u32, by: u32) -> u32 {
    (at + by) % OPTIONS_ROOM as u32
}

impl<V: Visit> Step for Walk<'_, V> {
    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.at >= self.end {
            return false;
        }
        let kind = byte(self.buffer, self.at);
        if kind == END {
            return false;
        }
        if kind == NO_OPERATION {
            self.at = advance(self.at, 1);
            return true;
        }
        let length = byte(self.buffer, self.at + 1);
        if self.at + 1 >= self.end || length < 2 || self.at + u32::from(length) > self.end {
            self.malformed = true;
            return false;
        }
        self.visitor.option(kind, length, self.buffer, self.at);
        self.at = advance(self.at, u32::from(length));
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

/// Walks `length` bytes (at most [`MOST`]) of `buffer`; false when an option's length is impossible.
#[inline(always)]
pub fn walk<V: Visit>(buffer: &[u8; OPTIONS_ROOM], length: u32, visitor: &mut V) -> bool {
    let mut walk = Walk { buffer, at: 0, end: length % OPTIONS_ROOM as u32, malformed: false, visitor };
    verifier::repeat(MOST, &mut walk);
    !walk.malformed
}
