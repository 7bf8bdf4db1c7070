use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::command;

fn segment() -> Segment {
    Segment {
        source: "198.51.100.20:40001".parse().expect("an address"),
        destination: "10.71.2.10:10000".parse().expect("an address"),
        kind: Kind::Ack,
        sequence: 0x0102_0304,
        acknowledgement: 0x0506_0708,
        payload: Esp { spi: 0x1122_3344, sequence: 0x0001_abcd }.encode(40),
    }
}

#[test]
fn a_data_segment_has_these_bytes() {
    let packet = segment().encode(7);
    let header = [
        0x45, 0, 0, 80, 0, 7, 0, 0, 64, 6, 0x44, 0x09, 198, 51, 100, 20, 10, 71, 2, 10, // IPv4, may be fragmented
        0x9c, 0x41, 0x27, 0x10, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 0xff, 0xff, 0x61, 0x40, 0,
        0, // TCP: five words, ACK alone, window 65535
        0x11, 0x22, 0x33, 0x44, 0, 1, 0xab, 0xcd, // ESP: SPI, sequence
    ];
    let trailer = [0, 0, 0, 0, 0xab, 0xcd, 0, 0, 0x21, 0x45, 0x6c, 0x69, 0x10, 0x32, 1, 0];
    assert_eq!(packet.len(), 80);
    assert_eq!(packet[..48], header, "{packet:02x?}");
    assert_eq!(packet[64..], trailer);
}

#[test]
fn a_segment_comes_back_as_it_was() {
    for kind in [Kind::Syn, Kind::SynAck, Kind::Ack, Kind::Reset] {
        let segment = Segment { kind, ..segment() };
        assert_eq!(Segment::decode(&segment.encode(1)), Ok(segment));
    }
    assert_eq!(Esp::decode(&segment().payload), Ok(Esp { spi: 0x1122_3344, sequence: 0x0001_abcd }));
}

#[test]
fn every_damaged_bit_is_noticed() {
    let payload = segment().payload;
    for bit in 0..payload.len() * 8 {
        let mut damaged = payload.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Esp::decode(&damaged).is_err(), "bit {bit}");
    }
    let packet = segment().encode(1);
    // Behind the IPv4 header, whose own checksum every router on the way verifies.
    for bit in 20 * 8..packet.len() * 8 {
        let mut damaged = packet.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Segment::decode(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_cut_packet_is_an_error() {
    let packet = segment().encode(1);
    for length in 0..packet.len() {
        assert!(Segment::decode(&packet[..length]).is_err(), "{length} bytes");
    }
    let payload = segment().payload;
    for length in 0..payload.len() {
        assert!(Esp::decode(&payload[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn padding_behind_the_packet_is_not_payload() {
    let reset = Segment { kind: Kind::Reset, payload: Vec::new(), ..segment() };
    let mut packet = reset.encode(1);
    packet.extend([0; 6]);
    assert_eq!(Segment::decode(&packet), Ok(reset));
}

/// What an independent dissector makes of our packets.
#[test]
fn tshark_sees_tcpencap_with_esp_inside() {
    if !command::installed("tshark") {
        eprintln!("skipped: tshark is not installed (`cargo xtask setup` does)");
        return;
    }
    let fields = dissect(&segment().encode(1));
    assert_eq!(fields, ["raw:ip:tcp:tcpencap:esp", "0x11223344", "109517", "1", "1"].join("\t"));

    let mut other = segment();
    let trailer = other.payload.len() - TRAILER;
    other.payload[trailer] = 1;
    assert!(!dissect(&other.encode(1)).contains("tcpencap"), "the dissector goes by the trailer, not by the port alone");
}

/// Protocols, ESP's SPI and sequence, and whether the IP and the TCP checksum are good (1) for one packet.
fn dissect(packet: &[u8]) -> String {
    const LINKTYPE_RAW: u32 = 101;
    let length = u32::try_from(packet.len()).expect("a small packet").to_le_bytes();
    let mut capture = Vec::new();
    capture.extend(0xa1b2_c3d4_u32.to_le_bytes());
    capture.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    capture.extend(65_535_u32.to_le_bytes());
    capture.extend(LINKTYPE_RAW.to_le_bytes());
    capture.extend([0; 8]);
    capture.extend([length, length].concat());
    capture.extend(packet);

    let mut tshark = Command::new("tshark");
    tshark.args(["-r", "-", "-T", "fields", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
    for field in ["frame.protocols", "esp.spi", "esp.sequence", "ip.checksum.status", "tcp.checksum.status"] {
        tshark.args(["-e", field]);
    }
    let mut tshark = tshark.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("tshark starts");
    tshark.stdin.take().expect("a pipe").write_all(&capture).expect("tshark reads");
    let output = tshark.wait_with_output().expect("tshark ends");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
