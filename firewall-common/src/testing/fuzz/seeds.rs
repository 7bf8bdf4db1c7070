//! Inputs to begin with: packets of the stream of [`crate::testing::stream`], and the scripts of the table of cases.

use std::collections::BTreeSet;

use super::streams::STEP;
use crate::{
    flow::NO_SCALE,
    testing::{
        cases::rows,
        script::{self, Edit, Kind, Number, Side, Step},
        stream::{Replies, Stream},
    },
    wire::tcp::flags,
};

const SEED: u64 = 0x5eed;
/// Frames longer than this teach the parser nothing more.
const LONGEST: usize = 160;

/// Seeds of the target `parser`: frames of which no two begin alike.
#[must_use]
pub fn parser() -> Vec<Vec<u8>> {
    let mut kinds = BTreeSet::new();
    let mut seeds = Vec::new();
    for (frame, arrival) in Stream::new(SEED, Replies::Egress).take(4_000) {
        let kind: Vec<u8> = frame
            .iter()
            .copied()
            .skip(12)
            .take(12)
            .enumerate()
            .filter(|(at, _)| ![6, 7, 8, 9].contains(at))
            .map(|(_, byte)| byte)
            .collect();
        if seeds.len() < 160 && kinds.insert((kind, frame.len() / 32)) {
            let choice = u8::from(arrival.egress) | (seeds.len() as u8 % 6) << 1;
            seeds.push([&[choice][..], &frame[..frame.len().min(LONGEST)]].concat());
        }
    }
    seeds
}

/// Seeds of the target `options`: one of each kind there is, lists that are common, and ones that do not add up.
#[must_use]
pub fn options() -> Vec<Vec<u8>> {
    let tcp: [&[u8]; 8] = [
        &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
        &[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1],
        &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9],
        &[3, 3, 15, 1],
        &[19, 18, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        &[0, 3, 3, 7],
        &[3, 1, 1, 1],
        &[34, 10, 170, 187, 204, 221, 238, 255, 0, 17, 3, 3, 2],
    ];
    let ipv4: [&[u8]; 5] = [&[148, 4, 0, 0], &[131, 3, 4, 0], &[137, 7, 4, 10, 0, 0, 1, 0], &[7, 7, 4, 0, 0, 0, 0], &[68, 200, 0, 0]];
    let of = |choice: u8, list: &[u8]| [&[choice][..], list].concat();
    tcp.iter().flat_map(|list| [of(0, list), of(1, list)]).chain(ipv4.iter().map(|list| of(2, list))).collect()
}

/// Seeds of the target `streams`: the scripts of the table that are about one TCP flow, under each level.
#[must_use]
pub fn streams() -> Vec<Vec<u8>> {
    let scripts: Vec<Vec<u8>> = rows().flat_map(|row| row.cases).filter_map(|case| stream(case.script)).collect();
    scripts.iter().enumerate().map(|(number, stream)| [&[number as u8 % 3][..], stream].concat()).collect()
}

/// The segments of a script; none when there are other packets in it, or numbers too far off.
fn stream(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in script::parse(text).ok()?.iter().take(20) {
        let Step::Send { packet, .. } = &line.step else { continue };
        let (Kind::Tcp(set), Number::Relative(seq)) = (&packet.kind, packet.seq) else { return None };
        let ack = if let Number::Relative(ack) = packet.ack { ack } else { 0 };
        let (seq, ack) = (i16::try_from(seq).ok()?, i16::try_from(ack).ok()?);
        let (mut window, mut scale) = (u16::MAX, NO_SCALE);
        for edit in &packet.edits {
            match edit {
                Edit::Window(given) => window = *given,
                Edit::Options(list) if list.starts_with(&[3, 3]) => scale = list[2].min(15),
                _ => {}
            }
        }
        let choice = u8::from(packet.side == Side::Server) | if scale != NO_SCALE && set & flags::SYN != 0 { 8 | scale << 4 } else { 0 };
        bytes.extend([choice, *set]);
        bytes.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
        bytes.push(u8::try_from(packet.length).unwrap_or(u8::MAX));
        bytes.extend(window.to_be_bytes());
        bytes.push(0);
    }
    (!bytes.is_empty() && bytes.len() % STEP == 0).then_some(bytes)
}
