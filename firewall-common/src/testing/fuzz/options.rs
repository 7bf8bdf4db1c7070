//! Option lists of TCP and IPv4, against a reading of them in ten lines.

use crate::{
    flow::NO_SCALE,
    parse::{Descriptor, parse},
    reason::Reason,
    seq::Seq,
    testing::{
        builder::{Packet, Payload},
        host::{CLIENT, Family, SERVER},
    },
    wire::tcp::{Segment, flags},
};

/// Bytes an option list can have.
const MOST: usize = 40;

/// Options as the RFCs tell them: kind and data; none when the list does not add up.
fn read(mut list: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    loop {
        match list {
            [] | [0, ..] => return Some(options),
            [1, rest @ ..] => list = rest,
            [kind, length, ..] if *length >= 2 && usize::from(*length) <= list.len() => {
                let (option, rest) = list.split_at(usize::from(*length));
                options.push((*kind, &option[2..]));
                list = rest;
            }
            _ => return None,
        }
    }
}

/// The first byte says of which protocol the rest is an option list.
pub fn compare(input: &[u8]) {
    let Some((choice, list)) = input.split_first() else { return };
    let mut list = list[..list.len().min(MOST)].to_vec();
    list.resize(list.len().next_multiple_of(4), 0);
    let family = if choice & 1 == 0 { Family::V4 } else { Family::V6 };
    if choice & 2 == 0 { tcp(family, &list) } else { ipv4(&list) }
}

fn parsed(packet: &Packet) -> Result<Descriptor, Reason> {
    let mut descriptor = Descriptor::EMPTY;
    parse(&packet.build().bytes.as_slice(), false, &mut descriptor).map(|()| descriptor)
}

fn syn(family: Family) -> Packet {
    let segment = Segment { seq: Seq(1), flags: flags::SYN, window: 100, scale: NO_SCALE, ..Segment::default() };
    Packet::tcp(family, (CLIENT, 2000), (SERVER, 443), &segment)
}

fn tcp(family: Family, list: &[u8]) {
    let mut packet = syn(family);
    if let Payload::Tcp { header, .. } = &mut packet.payload {
        header.set_options_raw(list).expect("forty bytes at most");
    }
    let expected = match read(list) {
        None => Err(Reason::BadTcpOptions),
        // The last of several counts; RFC 7323 §2.3 has shifts end at 14.
        Some(options) => {
            Ok(options.iter().filter(|(kind, data)| *kind == 3 && data.len() == 1).map(|(_, data)| data[0].min(14)).next_back())
        }
    };
    let scale = parsed(&packet).map(|descriptor| (descriptor.segment.scale != NO_SCALE).then_some(descriptor.segment.scale));
    assert_eq!(scale, expected, "TCP options {list:02x?}");
}

fn ipv4(list: &[u8]) {
    let packet = Packet { ip_options: list.to_vec(), ..syn(Family::V4) };
    let expected = match read(list) {
        None => Err(Reason::BadIpOptions),
        Some(options) if options.iter().any(|(kind, _)| [131, 137].contains(kind)) => Err(Reason::IpOptionSourceRoute),
        Some(_) => Ok(()),
    };
    assert_eq!(parsed(&packet).map(drop), expected, "IPv4 options {list:02x?}");
}
