//! A frame that is changed as the kernel would change it: what is read is the frame as it came, what is written goes to a copy.

use std::cell::RefCell;

use crate::{
    normalize::checksum,
    packet::{OPTIONS_ROOM, Packet},
};

/// A frame and what became of it.
#[derive(Debug)]
pub struct Changing<'a> {
    frame: &'a [u8],
    changed: RefCell<Vec<u8>>,
}

impl<'a> Changing<'a> {
    #[must_use]
    pub fn new(frame: &'a [u8]) -> Self {
        Self { frame, changed: RefCell::new(frame.to_vec()) }
    }

    /// The frame as it goes on.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.changed.into_inner()
    }

    fn write(&self, at: u32, bytes: &[u8]) -> bool {
        let mut changed = self.changed.borrow_mut();
        match changed.get_mut(at as usize..at as usize + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

impl Packet for Changing<'_> {
    fn length(&self) -> u32 {
        self.frame.length()
    }

    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        self.frame.read(at)
    }

    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        self.frame.copy(at, buffer, length)
    }

    fn store_header(&self, at: u32, header: &[u8; OPTIONS_ROOM], length: u32, difference: Option<u32>) -> bool {
        let mut header = header[..length as usize].to_vec();
        if let Some(difference) = difference {
            let field = checksum::FIELD as usize;
            let mended = checksum::mended(u16::from_ne_bytes([header[field], header[field + 1]]), difference);
            header[field..field + 2].copy_from_slice(&mended.to_ne_bytes());
        }
        self.write(at, &header)
    }

    fn store_word(&self, at: u32, bytes: [u8; 4]) -> bool {
        self.write(at, &bytes)
    }

    fn headers_cut(&self, _end: u32) -> bool {
        false
    }
}
