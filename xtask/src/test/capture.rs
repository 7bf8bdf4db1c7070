//! TCP segments as packet sockets see them, with their options and whether their checksums are right, and what one end of a connection
//! has sent, put together again.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};

use super::frame::{self, Port, Tcp};

#[derive(Debug, Clone)]
pub struct Segment {
    pub tcp: Tcp,
    pub urgent: bool,
    pub options: Vec<u8>,
    /// The checksums of the IPv4 header and of the segment are those of their bytes.
    pub intact: bool,
    /// The segment's checksum is nothing but its pseudo-header's sum. Left unfinished by its sender it also was right by chance, as one in 65,536
    /// is: such a one nobody can tell from a finished one.
    pub by_chance: bool,
}

/// Every segment that has been seen, in order.
pub fn segments(port: &Port) -> Result<Vec<Segment>> {
    Ok(port.frames()?.iter().filter_map(|frame| read(frame)).collect())
}

fn read(frame: &[u8]) -> Option<Segment> {
    let tcp = frame::tcp(frame)?;
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (net, TransportSlice::Tcp(slice)) = (sliced.net?, sliced.transport?) else { return None };
    let (intact, pseudo) = match (net.ipv4_ref(), net.ipv6_ref()) {
        (Some(ip), _) => {
            let header = ip.header();
            let sum = slice.calc_checksum_ipv4(header.source(), header.destination()).ok()?;
            let intact = sum == slice.checksum() && header.to_header().calc_header_checksum() == header.header_checksum();
            (intact, frame::pseudo_sum(&tcp, slice.slice().len()))
        }
        (_, Some(ip)) => {
            let sum = slice.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).ok()?;
            (sum == slice.checksum(), frame::pseudo_sum(&tcp, slice.slice().len()))
        }
        _ => return None,
    };
    let by_chance = !intact && slice.checksum() == pseudo;
    Some(Segment { tcp, urgent: slice.urg() || slice.urgent_pointer() != 0, options: slice.options().to_vec(), intact, by_chance })
}

/// What one end of a connection has sent, by its segments.
#[derive(Debug)]
pub struct Stream {
    /// Sequence number of its SYN.
    pub first: u32,
    /// What its first segment acknowledges that acknowledges anything.
    pub acknowledged: u32,
    pub bytes: Vec<u8>,
    pub segments: usize,
}

impl Stream {
    /// Of `length` bytes, each of which must have been seen.
    pub fn of(seen: &[Segment], from: SocketAddr, length: usize) -> Result<Self> {
        let sent: Vec<_> = seen.iter().map(|segment| &segment.tcp).filter(|tcp| tcp.source == from).collect();
        let first = sent.iter().find(|tcp| tcp.flags.starts_with('S')).with_context(|| format!("no SYN of {from} was seen"))?.seq;
        let acknowledged = sent.iter().find(|tcp| tcp.flags.contains('.')).with_context(|| format!("no ACK of {from} was seen"))?.ack;
        let mut bytes = vec![None; length];
        for tcp in &sent {
            let start = usize::try_from(tcp.seq.wrapping_sub(first).wrapping_sub(1)).unwrap_or(usize::MAX);
            for (place, byte) in tcp.payload.iter().enumerate() {
                let held =
                    bytes.get_mut(start.saturating_add(place)).with_context(|| format!("{from} has sent more than {length} bytes"))?;
                ensure!(held.is_none_or(|held| held == *byte), "{from} has sent byte {} twice and otherwise", start + place);
                *held = Some(*byte);
            }
        }
        let bytes = bytes.into_iter().collect::<Option<_>>().with_context(|| format!("not all bytes of {from} were seen"))?;
        Ok(Self { first, acknowledged, bytes, segments: sent.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u32, flags: &'static str, payload: &[u8]) -> Tcp {
        let (source, destination) = ("192.0.2.2:1234".parse().expect("an address"), "198.51.100.2:80".parse().expect("an address"));
        Tcp { source, destination, seq, ack: 7, flags, payload: payload.to_vec() }
    }

    #[test]
    fn a_wrong_checksum_is_seen() {
        let mut frame = segment(1, ".", b"data").frame_with([2; 6], [4; 6], &[], &[1, 1, 1, 0]).expect("written");
        let right = read(&frame).expect("a segment");
        assert!(right.intact && !right.urgent);
        assert_eq!(right.options, [1, 1, 1, 0]);
        // A byte of the data, then one of the IPv4 header.
        for at in [frame.len() - 1, 14 + 1] {
            frame[at] ^= 1;
            assert!(!read(&frame).expect("a segment").intact, "byte {at}");
            frame[at] ^= 1;
        }
    }

    #[test]
    fn a_stream_is_put_together_across_the_wrap() {
        let parts = [segment(u32::MAX, "S", b""), segment(3, ".", b"defg"), segment(0, ".", b"abcde")];
        let seen: Vec<_> = parts
            .iter()
            .map(|tcp| Segment { tcp: tcp.clone(), urgent: false, options: Vec::new(), intact: true, by_chance: false })
            .collect();
        let from = parts[0].source;
        let stream = Stream::of(&seen, from, 7).expect("whole");
        assert_eq!((stream.first, stream.acknowledged, &stream.bytes[..], stream.segments), (u32::MAX, 7, &b"abcdefg"[..], 3));
        assert!(Stream::of(&seen, from, 6).is_err(), "more than was sent");
        assert!(Stream::of(&seen, from, 8).is_err(), "a byte is missing");
        assert!(Stream::of(&seen[..2], from, 7).is_err(), "a hole");
    }
}
