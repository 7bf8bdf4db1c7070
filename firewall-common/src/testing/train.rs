//! Trains of fragments: a datagram cut as its sender would, and what networks and attackers make of it.

use crate::testing::builder::{Packet, Part};

/// Cuts a packet into fragments, in order. Each is a multiple of eight bytes long, but for the last.
#[must_use]
pub fn cut(packet: &Packet, identification: u32, random: &mut fastrand::Rng) -> Vec<Packet> {
    let whole = packet.datagram_length();
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < whole {
        // Seldom so many that the ranges a firewall remembers do not do.
        let length = random.usize(1..=whole.div_ceil(8).min(64)) * 8;
        let length = length.max(if offset == 0 { 64 } else { 8 });
        parts.push(Part { offset, length: Some(length), more: offset + length < whole, identification });
        offset += length;
    }
    if let [_] = parts[..] {
        return vec![packet.clone()];
    }
    parts.into_iter().map(|part| Packet { part: Some(part), ..packet.clone() }).collect()
}

/// Puts a train out of order, repeats, shifts, lengthens and shortens fragments, or takes some away.
pub fn derail(train: &mut Vec<Packet>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(..4) {
        if train.is_empty() {
            return;
        }
        let place = random.usize(..train.len());
        let mut packet = train[place].clone();
        match random.u8(..8) {
            0 => train.swap(place, 0),
            1 => random.shuffle(train),
            2 => drop(train.remove(place)),
            3 => train.insert(random.usize(..=train.len()), packet),
            _ => {
                bend(&mut packet, random);
                train.insert(random.usize(..=train.len()), packet);
            }
        }
    }
}

/// A fragment that no sender would put beside its original.
fn bend(packet: &mut Packet, random: &mut fastrand::Rng) {
    let Some(part) = &mut packet.part else { return };
    let by = random.usize(1..5) * 8;
    let length = part.length.unwrap_or(8);
    match random.u8(..8) {
        0 => part.offset = (part.offset + by).min(65_528),
        1 => part.offset = part.offset.saturating_sub(by),
        2 => part.length = Some(length + by),
        3 => part.length = Some(length.saturating_sub(by)),
        4 => part.length = Some(length.saturating_sub(random.usize(1..8))),
        5 => part.more = !part.more,
        6 => packet.dont_fragment = true,
        _ => part.offset = [8, 16, 65_504, 65_528][random.usize(..4)],
    }
}
