//! A packet that tells the recorder when it is read.

use super::{Stage, recorder::Recorder};
use crate::{
    env::Env,
    fragment, neighbour,
    packet::{OPTIONS_ROOM, Packet},
    parse::{Descriptor, Kind},
    reason::Reason,
    sanity,
    verdict::Verdict,
};

pub(super) struct Watched<'a, P, E> {
    packet: &'a P,
    recorder: &'a Recorder<'a, E>,
    /// [`crate::config::config_flags`].
    flags: u32,
}

impl<'a, P: Packet, E: Env> Watched<'a, P, E> {
    pub(super) const fn new(packet: &'a P, recorder: &'a Recorder<'a, E>, flags: u32) -> Self {
        Self { packet, recorder, flags }
    }

    /// The checks that the pipeline makes of a descriptor by itself.
    fn check(&self, descriptor: &Descriptor) {
        if descriptor.piece.is_fragment() {
            let checked = fragment::check(descriptor, self.flags);
            self.recorder.pass(Stage::Fragment, checked);
            if checked.is_err() {
                return;
            }
        }
        let checked = sanity::check(descriptor);
        if checked.is_ok() && matches!(descriptor.kind, Kind::LinkScope) {
            match neighbour::check(self.packet, descriptor) {
                Ok(()) => self.recorder.settle(Stage::Sanity, Verdict::NoLearn),
                refused => self.recorder.pass(Stage::Sanity, refused),
            }
            return;
        }
        self.recorder.pass(Stage::Sanity, checked);
    }
}

impl<P: Packet, E: Env> Packet for Watched<'_, P, E> {
    fn length(&self) -> u32 {
        self.packet.length()
    }

    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        self.packet.read(at)
    }

    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        self.packet.copy(at, buffer, length)
    }

    fn store_header(&self, at: u32, header: &[u8; OPTIONS_ROOM], length: u32, difference: Option<u32>) -> bool {
        self.packet.store_header(at, header, length, difference)
    }

    fn store_word(&self, at: u32, bytes: [u8; 4]) -> bool {
        self.packet.store_word(at, bytes)
    }

    fn headers_cut(&self, end: u32) -> bool {
        self.packet.headers_cut(end)
    }

    fn describe(&self, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
        let described = self.packet.describe(egress, descriptor);
        if described.is_ok() && matches!(descriptor.kind, Kind::Link) {
            self.recorder.settle(Stage::Parse, Verdict::NoLearn);
            return described;
        }
        self.recorder.pass(Stage::Parse, described);
        if described.is_ok() {
            self.check(descriptor);
        }
        described
    }

    fn quote(&self, descriptor: &mut Descriptor) -> Result<(), Reason> {
        let read = self.packet.quote(descriptor);
        if read.is_err() {
            self.recorder.pass(Stage::Relate, read);
        }
        read
    }
}
