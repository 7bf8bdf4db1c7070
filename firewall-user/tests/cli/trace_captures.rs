//! `weir trace --pcap`: captures of both kinds, state from one packet to the next, and files that are none.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use firewall_common::testing::stream::{Replies, Stream};
use firewall_user::{
    hex,
    trace::packet::{Details, Packet},
};
use serde_json::Value;

use crate::{
    lab::{Lab, in_lab},
    trace::fate_of,
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
const LINK_ETHERNET: u32 = 1;
const LINK_RAW: u32 = 101;
const LINK_COOKED: u32 = 113;

/// A frame and when it was seen, in seconds.
type Seen = (u32, Vec<u8>);

fn frame(words: &str, seq: u32, ack: u32, length: u16) -> Vec<u8> {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let tcp = words[0] == "tcp";
    let details = Details { seq: tcp.then_some(seq), ack: tcp.then_some(ack), length: Some(length), ..Details::default() };
    let frame = Packet::parse(&words, details).and_then(|packet| packet.frame()).expect("a packet").frame;
    hex::read(&frame).expect("digits")
}

const TO_BOX: &str = "tcp 10.9.0.2:40000 10.9.0.1:7000";
const FROM_BOX: &str = "tcp 10.9.0.1:7000 10.9.0.2:40000";

/// A connection, a segment past its window, and another three hours later.
fn conversation() -> Vec<Seen> {
    vec![
        (10, frame(&format!("{TO_BOX} syn"), 1000, 0, 0)),
        (10, frame(&format!("{FROM_BOX} syn-ack"), 5000, 1001, 0)),
        (10, frame(&format!("{TO_BOX} ack"), 1001, 5001, 0)),
        (11, frame(&format!("{TO_BOX} data"), 1001, 5001, 100)),
        (11, frame(&format!("{FROM_BOX} ack"), 5001, 1101, 0)),
        (12, frame(&format!("{TO_BOX} data"), 1001 + 200_000, 5001, 100)),
        (12 + 3 * 3600, frame(&format!("{TO_BOX} data"), 1101, 5001, 100)),
    ]
}

fn pcap(link: u32, seen: &[Seen], captured: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link].into_iter().flat_map(u32::to_le_bytes).collect();
    for (seconds, frame) in seen {
        let kept = &frame[..captured.min(frame.len())];
        bytes.extend([*seconds, 0, kept.len() as u32, frame.len() as u32].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(kept);
    }
    bytes
}

/// A block of a pcapng file.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = padded as u32 + 12;
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body, &vec![0; padded - body.len()], &length.to_le_bytes()].concat()
}

fn pcapng(link: u16, seen: &[Seen]) -> Vec<u8> {
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [&link.to_le_bytes()[..], &[0, 0], &65_535_u32.to_le_bytes()].concat();
    let mut bytes = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (seconds, frame) in seen {
        let micros = u64::from(*seconds) * 1_000_000;
        let head = [0, (micros >> 32) as u32, micros as u32, frame.len() as u32, frame.len() as u32];
        bytes.extend(block(6, &[head.into_iter().flat_map(u32::to_le_bytes).collect(), frame.clone()].concat()));
    }
    bytes
}

fn raw(seen: Vec<Seen>) -> Vec<Seen> {
    seen.into_iter().map(|(seconds, frame)| (seconds, frame[ETHERNET..].to_vec())).collect()
}

fn file(lab: &Lab, name: &str, bytes: &[u8]) -> PathBuf {
    let path = lab.directory.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

fn traced(lab: &Lab, name: &str, bytes: &[u8], extra: &[&str]) -> Value {
    let path = file(lab, name, bytes);
    lab.json(&[&["trace", "--pcap", path.to_str().expect("UTF-8")], extra].concat())
}

#[test]
fn state_goes_from_one_packet_of_a_capture_to_the_next() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let told = |traced: &Value| -> Vec<(String, Option<String>, String)> {
            let packets = traced["packets"].as_array().expect("packets");
            let owned = |packet| {
                let (verdict, reason, stage) = fate_of(packet);
                (verdict.to_owned(), reason.map(str::to_owned), stage.to_owned())
            };
            packets.iter().map(owned).collect()
        };
        let of_pcap = traced(lab, "a.pcap", &pcap(LINK_ETHERNET, &conversation(), usize::MAX), &[]);
        let pass = |stage: &str| ("pass".to_owned(), None, stage.to_owned());
        let drop = |reason: &str, stage: &str| ("drop".to_owned(), Some(reason.to_owned()), stage.to_owned());
        let expected = [
            pass("admit"),
            pass("track"),
            pass("track"),
            pass("track"),
            pass("track"),
            drop("tcp-seq-past-win", "track"),
            // Two hours and four minutes without a packet ended it.
            drop("tcp-not-syn", "admit"),
        ];
        assert_eq!(told(&of_pcap), expected);
        let packets = of_pcap["packets"].as_array().expect("packets");
        let ways: Vec<&str> = packets.iter().filter_map(|packet| packet["direction"].as_str()).collect();
        assert_eq!(ways, ["in", "out", "in", "in", "out", "in", "in"]);
        assert_eq!(packets[3]["time"], "1970-01-01T00:00:11.000000Z");
        assert_eq!(of_pcap["program"].as_array().map(Vec::len), Some(2), "{of_pcap}");
        assert_eq!(packets[5]["arithmetic"]["number"], 201_001);

        assert_eq!(told(&traced(lab, "b.pcapng", &pcapng(101, &raw(conversation())), &[])), expected, "raw packets in a pcapng");
        let all_in = traced(lab, "a.pcap", &pcap(LINK_ETHERNET, &conversation(), usize::MAX), &["--interface", "box0"]);
        assert_eq!(fate_of(&all_in["packets"][1]).0, "drop", "what the box sends does not come in: {all_in}");

        // People see those that are dropped, and a line for each of the others.
        let path = lab.directory.join("a.pcap");
        let run = lab.weir(&["trace", "--pcap", path.to_str().expect("UTF-8"), "--expect", "pass"]);
        assert_eq!((run.code, run.err.lines().count()), (Some(1), 2), "{run:?}");
        assert_eq!(run.out.matches("\nDROP ").count(), 2, "{run:?}");
        assert!(run.out.contains("7 packets: 5 pass, 2 dropped, 0 answered"), "{run:?}");
    });
}

#[test]
fn what_only_the_host_judged_is_known_to_the_kernel() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let mut seen = conversation();
        seen.truncate(3);
        // Not cut into segments yet; what acknowledges it comes in.
        seen.push((11, frame(&format!("{FROM_BOX} data"), 5001, 1001, 9000)));
        seen.push((11, frame(&format!("{TO_BOX} ack"), 1001, 14_001, 0)));
        let traced = traced(lab, "large.pcap", &pcap(LINK_ETHERNET, &seen, usize::MAX), &["--fresh"]);
        let packets = traced["packets"].as_array().expect("packets");
        assert_eq!((fate_of(&packets[3]).0, &packets[3]["host_only"]), ("pass", &true.into()), "{traced}");
        assert_eq!((fate_of(&packets[4]).0, &packets[4]["learned"]), ("pass", &true.into()), "{traced}");
    });
}

#[test]
fn packets_that_were_cut_are_said_to_be() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        // As tcpdump -s 54 would have it: headers only.
        let cut = traced(lab, "cut.pcap", &pcap(LINK_ETHERNET, &conversation()[..5], 54), &[]);
        let packets = cut["packets"].as_array().expect("packets");
        assert_eq!((&packets[3]["captured"], &packets[3]["length"]), (&54.into(), &154.into()), "{cut}");
        assert_eq!(packets[2]["captured"], Value::Null);
        // The SYN's option was cut off, and zeros in its place do not add up to its checksum.
        assert_eq!(fate_of(&packets[0]).1, Some("tcp-bad-cksum"), "{cut}");
        // Too short for a link header.
        let stub = traced(lab, "stub.pcap", &pcap(LINK_ETHERNET, &[(1, vec![1; 9])], usize::MAX), &[]);
        assert_eq!((fate_of(&stub["packets"][0]).1, &stub["packets"][0]["host_only"]), (Some("frame-too-short"), &true.into()), "{stub}");
    });
}

#[test]
fn fragments_and_arp_are_traced_too() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let whole = frame("udp 10.9.0.2:7001 10.9.0.1:7000", 0, 0, 64);
        let mut arp = whole[..42].to_vec();
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let fragment = |at: usize, length: usize, more: bool| {
            let mut bytes = whole[..ETHERNET + 20].to_vec();
            bytes[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(20 + length as u16).to_be_bytes());
            let offset = (at / 8) as u16 | if more { 0x2000 } else { 0 };
            bytes[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&offset.to_be_bytes());
            bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&[0, 0]);
            let sum: u32 = bytes[ETHERNET..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
            bytes.extend(&whole[ETHERNET + 20 + at..ETHERNET + 20 + at + length]);
            (1, bytes)
        };
        let seen = [(1, arp), fragment(0, 40, true), fragment(40, 32, false), fragment(40, 32, false), fragment(8, 8, true)];
        let traced = traced(lab, "fragments.pcap", &pcap(LINK_ETHERNET, &seen, usize::MAX), &[]);
        let told: Vec<_> = traced["packets"].as_array().expect("packets").iter().map(fate_of).collect();
        assert_eq!(told[0], ("pass", None, "parse"), "{traced}");
        assert_eq!((told[1], told[2]), (("pass", None, "fragment"), ("pass", None, "fragment")), "{traced}");
        assert!(told[3].0 == "drop" && told[4].0 == "drop" && told[3].2 == "fragment", "{told:?}");
    });
}

#[test]
fn files_that_are_no_captures_are_refused() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let whole = pcap(LINK_ETHERNET, &conversation(), usize::MAX);
        let ng = pcapng(1, &conversation());
        let many: Vec<Seen> = vec![(1, vec![0; 60]); 4097];
        for (name, bytes, words) in [
            ("empty", Vec::new(), vec!["empty"]),
            ("text", b"[[rule]]\nname = \"no capture at all\"\n".to_vec(), vec!["neither a pcap nor a pcapng"]),
            ("cut.pcap", whole[..whole.len() - 5].to_vec(), vec!["packet 7", "editcap"]),
            ("cut.pcapng", ng[..ng.len() - 5].to_vec(), vec!["packet 7"]),
            ("header.pcap", pcap(LINK_ETHERNET, &[], 0), vec!["no packet"]),
            ("cooked.pcap", pcap(LINK_COOKED, &conversation(), usize::MAX), vec!["link type", "-i any"]),
            ("raw.pcap", pcap(LINK_RAW, &[(1, vec![0x11; 40])], usize::MAX), vec!["packet 1", "neither IPv4 nor IPv6"]),
            ("many.pcap", pcap(LINK_ETHERNET, &many, usize::MAX), vec!["4096"]),
            ("long.pcap", pcap(LINK_ETHERNET, &[(1, vec![0; 65_001])], usize::MAX), vec!["65000"]),
        ] {
            let path = file(lab, name, &bytes);
            let run = lab.weir(&["trace", "--pcap", path.to_str().expect("UTF-8")]);
            run.refused_with(2, &words);
            assert!(run.err.contains(name), "the file is named: {run:?}");
        }
        lab.weir(&["trace", "--pcap", "/nowhere/at.all"]).refused_with(2, &["/nowhere/at.all"]);
        let path = file(lab, "whole.pcap", &whole);
        lab.weir(&["trace", "tcp", "10.9.0.2", "10.9.0.1:1", "--pcap", path.to_str().expect("UTF-8")]).refused_with(2, &["not both"]);
    });
}

/// Something of everything: changes, denials, answers, bypass.
const STRANGE: &str = r#"
[[rule]]
name = "no"
from = "outside"
service = "tcp/22"
action = "reject"

[[rule]]
name = "vpn"
from = "outside"
service = "tcp/10000"
action = "allow"
inspection = "bypass"

[[rule]]
name = "rest"
from = "outside"
action = "allow"
normalizer = "asa"
"#;

/// Packets of every protocol, whole and spoiled, of many flows and of datagrams in fragments.
#[test]
fn kernel_and_host_agree_over_a_long_capture() {
    in_lab(|lab| {
        lab.write("10-base.toml", STRANGE);
        lab.start(&["--interface", "outside=box0"]);
        for (seed, replies) in [(3, Replies::Ingress), (4, Replies::Egress)] {
            let comes_in = Stream::new(seed, replies).filter(|(frame, arrival)| !arrival.egress && frame.len() <= 9000);
            let frames = comes_in.take(1200).map(|(frame, _)| frame);
            let seen: Vec<Seen> = (0..).zip(frames).map(|(number, frame)| (number / 4, frame)).collect();
            let traced = traced(lab, "stream.pcap", &pcap(LINK_ETHERNET, &seen, usize::MAX), &["--interface", "box0", "--fresh"]);
            let packets = traced["packets"].as_array().expect("packets");
            let reasons: BTreeSet<_> = packets.iter().filter_map(|packet| fate_of(packet).1).collect();
            assert!(packets.len() == 1200 && reasons.len() >= 12, "{reasons:?}");
            assert!(packets.iter().any(|packet| packet["verdict"] == "pass" && packet["learned"] == true));
        }
    });
}

/// What the socket answers to a body.
fn posted(lab: &Lab, body: &str) -> String {
    let mut stream = UnixStream::connect(lab.socket()).expect("the daemon listens");
    write!(stream, "POST /v1/trace HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_socket_refuses_what_is_no_request() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        for (body, status, word) in [
            ("", "400", "body is not"),
            ("{\"packets\": []}", "400", "no packet"),
            ("{\"packets\": [{\"frame\": \"0\"}]}", "400", "packet 1: its frame is not written in hexadecimal"),
            ("{\"packets\": [{\"frame\": \"00\"}], \"colour\": 1}", "400", "colour"),
            ("{\"packets\": [{\"frame\": \"00\", \"length\": 4294967295}]}", "400", "packet 1: its frame has more than 65000"),
            ("{\"packets\": [{\"frame\": \"00\"}], \"interface\": \"no\"}", "404", "no is not attached"),
            ("{\"packets\": [{\"frame\": \"00\"}], \"policy\": \"relative\"}", "400", "absolute"),
        ] {
            let answer = posted(lab, body);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(word), "{body}: {answer}");
        }
        assert_eq!(lab.json(&["status"])["ready"], true);
    });
}
