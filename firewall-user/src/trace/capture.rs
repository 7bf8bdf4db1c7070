//! Packets out of a capture, pcap or pcapng.

use std::{
    fs::File,
    io::{Cursor, Read as _},
    path::Path,
};

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::ethernet;
use crate::{
    api::{Failure, MAX_TRACED_BYTES, MAX_TRACED_FRAME, MAX_TRACED_PACKETS, PacketToTrace},
    hex,
};

/// Largest file: a trace's packets, and what a capture has around them.
pub const MAX_FILE: u64 = 4 * MAX_TRACED_BYTES as u64;
const NANOSECONDS: u128 = 1_000_000_000;
/// Least room of the reader, for blocks that are no packets.
const LEAST_ROOM: usize = 64 * 1024;

/// An interface of a pcapng section, or a whole pcap file.
#[derive(Clone, Copy)]
struct Source {
    link: Linktype,
    /// Units in a second of the packets' times, and seconds to be added.
    units: u64,
    offset: i64,
}

/// Reads every packet of the file.
pub fn read(path: &Path) -> Result<Vec<PacketToTrace>, Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{}: the file has more than {MAX_FILE} bytes", path.display()))
            .hint("`editcap -c` cuts captures, `tcpdump -r FILE -w PART FILTER` takes out what matters"));
    }
    packets(&bytes).map_err(|failure| Failure { error: format!("{}: {}", path.display(), failure.error), ..failure })
}

/// The packets of a capture's bytes.
pub fn packets(bytes: &[u8]) -> Result<Vec<PacketToTrace>, Failure> {
    if bytes.is_empty() {
        return Err(Failure::usage("the file is empty"));
    }
    let room = bytes.len().max(LEAST_ROOM);
    let mut reader = create_reader(room, Cursor::new(bytes)).map_err(|_| no_capture())?;
    let mut capture = Capture::default();
    loop {
        match reader.next() {
            Ok((read, block)) => {
                capture.take(&block)?;
                reader.consume(read);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                if reader.reader_exhausted() {
                    return Err(capture.broken("ends in the middle of"));
                }
                reader.refill().map_err(|_| capture.broken("cannot be read behind"))?;
            }
            Err(_) => return Err(capture.broken("is damaged in or behind")),
        }
    }
    if capture.packets.is_empty() {
        return Err(Failure::usage("there is no packet in the file"));
    }
    Ok(capture.packets)
}

fn no_capture() -> Failure {
    Failure::usage("this is neither a pcap nor a pcapng file").hint("`tcpdump -w FILE` and `tshark -w FILE` write them")
}

/// What was read so far.
#[derive(Default)]
struct Capture {
    sources: Vec<Source>,
    packets: Vec<PacketToTrace>,
    bytes: usize,
}

impl Capture {
    fn broken(&self, how: &str) -> Failure {
        Failure::usage(format!("the file {how} packet {}", self.packets.len() + 1))
            .hint(format!("`editcap -r FILE WHOLE 1-{}` saves the packets before it", self.packets.len()))
    }

    fn take(&mut self, block: &PcapBlockOwned<'_>) -> Result<(), Failure> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.sources = vec![Source { link: header.network, units, offset: 0 }];
                Ok(())
            }
            PcapBlockOwned::Legacy(packet) => {
                let source = self.source(0)?;
                let ticks = u128::from(packet.ts_sec) * u128::from(source.units) + u128::from(packet.ts_usec);
                self.add(source, Some(ticks), packet.data.get(..packet.caplen as usize), packet.origlen)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.sources.clear();
                Ok(())
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let units = interface.ts_resolution().filter(|units| *units != 0).ok_or_else(|| self.broken("has no sense of time in"))?;
                self.sources.push(Source { link: interface.linktype, units, offset: interface.ts_offset() });
                Ok(())
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let source = self.source(packet.if_id)?;
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                self.add(source, Some(ticks), packet.data.get(..packet.caplen as usize), packet.origlen)
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let source = self.source(0)?;
                let captured = packet.data.len().min(packet.origlen as usize);
                self.add(source, None, packet.data.get(..captured), packet.origlen)
            }
            PcapBlockOwned::NG(_) => Ok(()),
        }
    }

    fn source(&self, number: u32) -> Result<Source, Failure> {
        self.sources.get(number as usize).copied().ok_or_else(|| self.broken("names no interface for"))
    }

    fn add(&mut self, source: Source, ticks: Option<u128>, data: Option<&[u8]>, length: u32) -> Result<(), Failure> {
        let number = self.packets.len() + 1;
        let data = data.ok_or_else(|| self.broken("ends in the middle of"))?;
        if number > MAX_TRACED_PACKETS {
            return Err(Failure::usage(format!("there are more than the {MAX_TRACED_PACKETS} packets of one trace"))
                .hint("`editcap -c` cuts captures, `tcpdump -r FILE -w PART FILTER` takes out what matters"));
        }
        let header = link_header(source.link, data)
            .map_err(|failure| Failure { error: format!("packet {number}: {}", failure.error), ..failure })?;
        let frame = [header.as_slice(), data].concat();
        let length = length.max(u32::try_from(data.len()).unwrap_or(u32::MAX)).saturating_add(u32::try_from(header.len()).unwrap_or(0));
        self.bytes += frame.len().max(length as usize);
        if length as usize > MAX_TRACED_FRAME {
            return Err(Failure::usage(format!("packet {number} has more than {MAX_TRACED_FRAME} bytes"))
                .hint("packets put together by the network card are not those on the wire: `ethtool -K IFACE gro off` before capturing"));
        }
        if self.bytes > MAX_TRACED_BYTES {
            return Err(Failure::usage(format!("the packets have more than the {MAX_TRACED_BYTES} bytes of one trace")));
        }
        let cut = (frame.len() < length as usize).then_some(length);
        self.packets.push(PacketToTrace { frame: hex::write(&frame), time: ticks.and_then(|ticks| source.time(ticks)), length: cut });
        Ok(())
    }
}

impl Source {
    fn time(&self, ticks: u128) -> Option<jiff::Timestamp> {
        let units = u128::from(self.units);
        let nanoseconds = ticks % units * NANOSECONDS / units;
        let seconds = i64::try_from(ticks / units).ok()?.checked_add(self.offset)?;
        jiff::Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
    }
}

/// What is missing before the packet to make it an Ethernet frame.
fn link_header(link: Linktype, data: &[u8]) -> Result<Vec<u8>, Failure> {
    match link {
        Linktype::ETHERNET => Ok(Vec::new()),
        Linktype::IPV4 => Ok(ethernet(true, None)),
        Linktype::IPV6 => Ok(ethernet(false, None)),
        Linktype::RAW => match data.first().map(|first| first >> 4) {
            Some(4) => Ok(ethernet(true, None)),
            Some(6) => Ok(ethernet(false, None)),
            _ => Err(Failure::usage("it is neither IPv4 nor IPv6")),
        },
        other => {
            let failure =
                Failure::usage(format!("its link type is {other}, and only Ethernet (1) and raw IP (101, 228, 229) can be traced"));
            Err(match other {
                Linktype::LINUX_SLL | Linktype(276) => failure.hint("captures of `-i any` have it: capture on one interface instead"),
                _ => failure,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: [u8; 28] = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0xf6, 0xcb, 192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 53, 0, 8, 0, 0];

    /// A pcap file, little-endian, with microseconds.
    fn pcap(link: u32, packets: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
            bytes.extend(u32::to_le_bytes(word));
        }
        for (seconds, micros, data, length) in packets {
            for word in [*seconds, *micros, data.len() as u32, *length] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn raw_packets_get_an_ethernet_header() {
        let read = packets(&pcap(101, &[(1, 500_000, &UDP, 28), (2, 0, &UDP[..20], 28)])).expect("a capture");
        assert!(read[0].frame.starts_with("020000000002020000000001080045"), "{read:?}");
        assert_eq!(read[0].time.map(|time| time.to_string()), Some("1970-01-01T00:00:01.5Z".to_owned()));
        assert_eq!((read[0].length, read[1].length), (None, Some(42)), "what is missing is told, with the header that was added");
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let told = |bytes: &[u8]| packets(bytes).expect_err("a refusal").error;
        assert!(told(b"").contains("empty"));
        assert!(told(b"GET / HTTP/1.1\r\nand so on, long enough for a header").contains("neither"));
        assert!(told(&pcap(1, &[])).contains("no packet"));
        assert!(told(&pcap(113, &[(1, 0, &UDP, 28)])).contains("link type"));
        assert!(told(&pcap(101, &[(1, 0, &[0x12; 20], 20)])).contains("neither IPv4 nor IPv6"));
        let whole = pcap(101, &[(1, 0, &UDP, 28), (1, 0, &UDP, 28)]);
        assert!(told(&whole[..whole.len() - 3]).contains("packet 2"));
        assert!(told(&pcap(101, &[(1, 0, &UDP, 65_530)])).contains("65000"));
        let one: (u32, u32, &[u8], u32) = (1, 0, &UDP, 28);
        assert!(told(&pcap(101, &vec![one; 4097])).contains("4096"));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let whole = pcap(101, &[(1, 0, &UDP, 28), (1, 0, &UDP, 28)]);
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..whole.len() {
            let _ = packets(&whole[..length]);
        }
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = packets(&bytes);
        }
    }
}
