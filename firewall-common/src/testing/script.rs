//! Packet scripts: text that says what comes and what must become of it, one packet a line.
//!
//! ```text
//! C:S 0                -> pass syn-sent      | pass bypass
//! S:SA 0/1 win=1000    -> pass syn-received  | pass bypass
//! C:A 1/1 +100         -> pass established   | pass bypass
//! ```
//!
//! `C` is the client, `S` the server, `O` another host on the client's side. Then the TCP flags (`-` for none; `W` is CWR), the sequence
//! and the acknowledgement number and the length of the payload. Numbers count from the sender's and its peer's (random) first one;
//! `=0` is the bare number. Instead of flags another kind of packet may stand: `udp`, `echo`, `echo-reply`, `icmp=3/4`, `arp`,
//! `ethertype=0x1234`, `ip=47` (any IP protocol), `esp=1000/1` and `ah=1000/1` (SPI and sequence number). What follows are `key=value`
//! edits: see [`Edit`].
//!
//! `C:error=too-big [S:A 1/1 +1000]` is an ICMP error of the client's about a packet of the server's, which it quotes. Its names are
//! `unreachable`, `too-big`, `time-exceeded` and `parameter-problem`, in the family's own numbers. What follows the bracket edits the
//! error, what is in it the quoted packet.
//!
//! After `->` stand the expectations under `strict`, `bypass` and `tolerant`. A missing last one is that of `strict`; a single one is for
//! all. Each is an outcome and, if it is given, the state of the flow's record (`none`: there is no record):
//!
//! | outcome | verdict |
//! |---|---|
//! | `pass` | passes and is learned from |
//! | `nostate` | passes; but for packet counters the record is as before, byte for byte |
//! | `noted` | passes; state, windows and age are as before, a flag may note what the packet said |
//! | `untouched` | passes; the record is as before, byte for byte |
//! | `forward` | passes without learning; nothing is said of a record |
//! | `drop:REASON` | dropped, counted under this reason; the record is as before, byte for byte |
//! | `answer` | refused with an answer |
//! | `needed:REASON` | as `pass`, under bypass; counted as needed, for strict inspection would have dropped it for this reason |
//! | `unneeded` | as `pass`, under bypass; not counted as needed |
//! | `close:REASON` | dropped, counted under this reason; the connection is over |
//!
//! `=> PACKET` after the expectations is the packet that goes on, with checksums as its own; without it the packet goes on as it came.
//!
//! Other lines: `HS` (a whole handshake), `@30s` or `@500ms` (time passes), `policy NAME`, `forget` (an empty table and new random
//! numbers), `far` (first numbers far from zero, for scripts with bare numbers), `set before-first` and `set df` (fragments may come before
//! their first, or have "don't fragment" set; `set nothing` takes both back).

use crate::{config::config_flags, flow::State, reason::Reason, time::Nanos, wire::tcp::flags};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
    Other,
}

/// A sequence or acknowledgement number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Counts from the random first one; may be negative.
    Relative(i64),
    Bare(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp(u8),
    Udp,
    Echo { reply: bool },
    Icmp { kind: u8, code: u8 },
    Error { about: About, quoted: Box<Send> },
    Esp { spi: u32, sequence: u32 },
    Ah { spi: u32, sequence: u32 },
    Ethernet(u16),
    Ip(u8),
}

/// What an ICMP error complains of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Unreachable,
    TooBig,
    TimeExceeded,
    ParameterProblem,
}

/// A change to the packet a line would otherwise give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `win=N`: as in the header. Default 65535.
    Window(u16),
    /// `opt=HEX`: TCP options, padded with zeros.
    Options(Vec<u8>),
    /// `urg=N`: urgent pointer.
    Urgent(u16),
    /// `doff=N`: data offset in words, whatever the header has.
    DataOffset(u8),
    /// `iplen=N`: IPv4 total or IPv6 payload length.
    IpLength(u16),
    /// `ihl=N`: IPv4 header length in words.
    HeaderLength(u8),
    /// `version=N`.
    Version(u8),
    /// `cut=N`: the frame ends N bytes into the transport header.
    Cut(usize),
    /// `pad=N`: so many bytes follow the IP packet.
    Pad(usize),
    /// `ipopt=HEX`: IPv4 options.
    IpOptions(Vec<u8>),
    /// `ext=0,60`: IPv6 extension headers of eight bytes each, all zero; after those there are already.
    Extensions(Vec<u8>),
    /// `inner=60`: the same behind the fragment header, as part of what is cut into fragments.
    InnerExtensions(Vec<u8>),
    /// `rh=TYPE/LEFT`: an IPv6 routing header with segments left.
    Routing(u8, u8),
    /// `long=N`: IPv6 destination options of N bytes.
    LongOptions(usize),
    /// `frag=OFFSET:LENGTH` (bytes; `+` at the end for more fragments), of datagram 4711.
    Fragment {
        offset: usize,
        length: usize,
        more: bool,
    },
    /// `id=N`: of that datagram instead; after `frag`.
    Identification(u32),
    /// `next=N`: next header in the IPv6 fragment header.
    NextHeader(u8),
    /// `df`: do not fragment.
    DontFragment,
    /// `vlan=N`: so many tags.
    Vlan(usize),
    /// `csum=bad`: IPv4 header checksum.
    BadChecksum,
    /// `tcpsum=bad`: TCP checksum; `tcpsum=unfinished`: it holds the pseudo-header's sum only.
    TcpChecksum {
        unfinished: bool,
    },
    /// `rsv=N`: reserved bits between data offset and flags.
    Reserved(u8),
    /// `ts=VALUE`: timestamps, as nearly every segment has them.
    Timestamp(u32),
    /// `sack=10:20,40:50`: blocks that count from the peer's first number.
    Sack(Vec<(i64, i64)>),
    /// `data=N`: what the payload is made of.
    Data(u8),
    /// `ctcp=SPI/SEQUENCE`: a TCP payload is ESP with the trailer of IPsec over TCP; `inesp=` is without that.
    Ctcp {
        spi: u32,
        sequence: u32,
        trailer: bool,
    },
    /// `ctcp-ike`: it is IKE with that trailer, behind a UDP header.
    CtcpIke,
    /// `magic` or `trailer`: a byte of the trailer is wrong, of its mark or elsewhere; `bad-ike`: the IKE message has no version.
    Spoil(Spoiled),
    /// `src=` or `dst=`: loopback, zero, multicast, or the other end's address (`peer`).
    Source(Place),
    Destination(Place),
    /// `sport=`, `dport=`.
    SourcePort(u16),
    DestinationPort(u16),
    /// `udplen=N`.
    UdpLength(u16),
    /// `hops=N`.
    HopLimit(u8),
    /// `bytes=HEX`: what the payload of UDP, ICMP or another IP protocol begins with.
    Bytes(Vec<u8>),
    /// `size=N`: that payload has so many bytes.
    Size(usize),
    /// `rest=HEX`: four bytes of ICMP, after the checksum.
    Rest([u8; 4]),
    /// `quote=N`: an error quotes so many bytes behind the quoted IP header. Default 32.
    Quote(usize),
    /// `mtu=N`: what an error says of the next hop.
    Mtu(u16),
    /// `zone=N`: comes in by an interface of that zone.
    Zone(u8),
    /// `before`: where numbers are randomized, as its sender's side of the firewall sees it: what it acknowledges is shifted.
    Before,
    /// `behind`: as its receiver's side sees it: its own sequence number is shifted.
    Behind,
}

/// Which byte of a payload is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    Magic,
    Trailer,
    Ike,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Loopback,
    Zero,
    Multicast,
    Peer,
    Client,
    /// `fe80::1`.
    LinkLocal,
    /// The multicast group of those who may have the server's address.
    Solicited,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    pub side: Side,
    pub kind: Kind,
    pub seq: Number,
    pub ack: Number,
    pub length: u32,
    pub edits: Vec<Edit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    NoState,
    Noted,
    Untouched,
    Forward,
    Drop(Reason),
    Close(Reason),
    Needed(Reason),
    Unneeded,
    Answer,
}

/// The record a line leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Any,
    None,
    In(State),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    pub outcome: Outcome,
    pub record: Record,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send {
        packet: Box<Send>,
        /// Under `strict`, `bypass`, `tolerant`.
        expect: [Expect; 3],
        /// What it goes on as, if not as it came.
        becomes: Option<Box<Send>>,
    },
    Wait(Nanos),
    Policy(String),
    Forget,
    Far,
    /// Bits of [`config_flags`].
    Flags(u32),
}

/// A step and the line it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub step: Step,
}

const HANDSHAKE: [&str; 3] = ["C:S 0 -> pass", "S:SA 0/1 -> pass", "C:A 1/1 -> pass"];

/// Reads a script.
///
/// # Errors
/// The line that cannot be read, and why.
pub fn parse(script: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for text in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if text == "HS" {
            for line in HANDSHAKE {
                lines.push(Line { text: line.to_owned(), step: step(line)? });
            }
            continue;
        }
        let (text, times) = repeated(text);
        for turn in 0..times {
            let mut step = step(&text).map_err(|why| format!("{text}: {why}"))?;
            let answered = match &mut step {
                Step::Send { expect, .. } if expect.iter().all(|expect| matches!(expect.outcome, Outcome::Drop(_))) => false,
                Step::Send { packet, .. } => {
                    shift(packet, turn);
                    !matches!(packet.kind, Kind::Esp { .. } | Kind::Ah { .. })
                }
                _ => true,
            };
            lines.push(Line { text: text.clone(), step });
            if times > 1 && answered {
                lines.push(acknowledgement(&lines[lines.len() - 1])?);
            }
        }
    }
    Ok(lines)
}

/// `x46` makes 46 segments of a line, each acknowledged by the other side. Of ESP and AH it makes packets with the next sequence numbers, and what
/// is dropped comes as often as it was.
fn repeated(text: &str) -> (String, u32) {
    let times = text.split_whitespace().find_map(|word| word.strip_prefix('x').and_then(|times| times.parse().ok()));
    match times {
        Some(times) => (text.replace(&format!(" x{times}"), ""), times),
        None => (text.to_owned(), 1),
    }
}

fn shift(packet: &mut Send, turn: u32) {
    if let Kind::Esp { sequence, .. } | Kind::Ah { sequence, .. } = &mut packet.kind {
        *sequence += turn;
    } else if let Number::Relative(seq) = &mut packet.seq {
        *seq += i64::from(turn) * i64::from(packet.length);
    }
}

fn acknowledgement(line: &Line) -> Result<Line, String> {
    let Step::Send { packet, expect, .. } = &line.step else { return Err("only packets are repeated".to_owned()) };
    let (Number::Relative(seq), Number::Relative(ack)) = (packet.seq, packet.ack) else {
        return Err("only relative numbers can be acknowledged".to_owned());
    };
    let side = if packet.side == Side::Client { Side::Server } else { Side::Client };
    let acknowledged = Number::Relative(seq + i64::from(packet.length));
    let answer = Send { side, kind: Kind::Tcp(flags::ACK), seq: Number::Relative(ack), ack: acknowledged, length: 0, edits: Vec::new() };
    Ok(Line {
        text: format!("acknowledgement of {}", line.text),
        step: Step::Send { packet: Box::new(answer), expect: *expect, becomes: None },
    })
}

fn step(text: &str) -> Result<Step, String> {
    if let Some(time) = text.strip_prefix('@') {
        return Ok(Step::Wait(duration(time)?));
    }
    match text {
        "forget" => return Ok(Step::Forget),
        "far" => return Ok(Step::Far),
        "set before-first" => return Ok(Step::Flags(config_flags::FRAGMENT_BEFORE_FIRST_PASS)),
        "set df" => return Ok(Step::Flags(config_flags::FRAGMENT_DF_PASS)),
        "set nothing" => return Ok(Step::Flags(0)),
        _ => {}
    }
    if let Some(name) = text.strip_prefix("policy ") {
        return Ok(Step::Policy(name.trim().to_owned()));
    }
    let (packet, expectations) = text.split_once("->").ok_or("no expectation")?;
    let (expectations, becomes) = match expectations.split_once("=>") {
        Some((expectations, becomes)) => (expectations, Some(Box::new(send(becomes)?))),
        None => (expectations, None),
    };
    Ok(Step::Send { packet: Box::new(send(packet)?), expect: columns(expectations)?, becomes })
}

fn duration(text: &str) -> Result<Nanos, String> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').ok_or("a duration ends in s or ms")?, 1000),
    };
    Ok(Nanos(number::<u64>(digits)? * unit * Nanos::MILLISECOND))
}

fn columns(text: &str) -> Result<[Expect; 3], String> {
    let columns = text.split('|').map(expect).collect::<Result<Vec<_>, _>>()?;
    match columns[..] {
        [all] => Ok([all; 3]),
        [strict, bypass] => Ok([strict, bypass, strict]),
        [strict, bypass, tolerant] => Ok([strict, bypass, tolerant]),
        _ => Err("more than three columns".to_owned()),
    }
}

fn expect(text: &str) -> Result<Expect, String> {
    let mut words = text.split_whitespace();
    let outcome = match words.next().ok_or("an empty column")? {
        "pass" => Outcome::Pass,
        "nostate" => Outcome::NoState,
        "noted" => Outcome::Noted,
        "untouched" => Outcome::Untouched,
        "forward" => Outcome::Forward,
        "answer" => Outcome::Answer,
        "unneeded" => Outcome::Unneeded,
        other => {
            let (kind, name) = other.split_once(':').ok_or_else(|| format!("no outcome: {other}"))?;
            let reason = *Reason::ALL.iter().find(|reason| reason.name() == name).ok_or_else(|| format!("no reason: {name}"))?;
            match kind {
                "drop" => Outcome::Drop(reason),
                "close" => Outcome::Close(reason),
                "needed" => Outcome::Needed(reason),
                _ => return Err(format!("no outcome: {other}")),
            }
        }
    };
    let record = match words.next() {
        None => Record::Any,
        Some("none") => Record::None,
        Some(name) => Record::In(*State::ALL.iter().find(|state| state.name() == name).ok_or_else(|| format!("no state: {name}"))?),
    };
    match words.next() {
        Some(word) => Err(format!("too much: {word}")),
        None => Ok(Expect { outcome, record }),
    }
}

fn send(text: &str) -> Result<Send, String> {
    match text.split_once('[') {
        Some((error, rest)) => error_about(error, rest),
        None => whole(text),
    }
}

/// An ICMP error: `error` stands before the packet it quotes, `rest` is that packet, the bracket, and the error's edits.
fn error_about(error: &str, rest: &str) -> Result<Send, String> {
    let (quoted, edits) = rest.split_once(']').ok_or("an open bracket")?;
    let (side, name) = error.trim().split_once(":error=").ok_or("only errors quote a packet")?;
    let about = match name {
        "unreachable" => About::Unreachable,
        "too-big" => About::TooBig,
        "time-exceeded" => About::TimeExceeded,
        "parameter-problem" => About::ParameterProblem,
        other => return Err(format!("no error: {other}")),
    };
    let mut packet = whole(&format!("{side}:udp {edits}"))?;
    packet.kind = Kind::Error { about, quoted: Box::new(whole(quoted)?) };
    Ok(packet)
}

fn whole(text: &str) -> Result<Send, String> {
    let mut words = text.split_whitespace();
    let (side, kind) = words.next().and_then(|word| word.split_once(':')).ok_or("no side")?;
    let side = match side {
        "C" => Side::Client,
        "S" => Side::Server,
        "O" => Side::Other,
        other => return Err(format!("no side: {other}")),
    };
    let mut packet = Send { side, kind: kind_of(kind)?, seq: Number::Relative(0), ack: Number::Relative(0), length: 0, edits: Vec::new() };
    for word in words {
        if let Some(length) = word.strip_prefix('+') {
            packet.length = number(length)?;
        } else if word.starts_with(|first: char| first.is_ascii_digit() || first == '=' || first == '-') {
            let (seq, ack) = word.split_once('/').unwrap_or((word, "=0"));
            (packet.seq, packet.ack) = (sequence(seq)?, sequence(ack)?);
        } else {
            packet.edits.push(edit(word)?);
        }
    }
    Ok(packet)
}

fn sequence(text: &str) -> Result<Number, String> {
    match text.strip_prefix('=') {
        Some(bare) => Ok(Number::Bare(number(bare)?)),
        None => Ok(Number::Relative(number(text)?)),
    }
}

fn kind_of(text: &str) -> Result<Kind, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("udp", _) => Ok(Kind::Udp),
        ("echo", _) => Ok(Kind::Echo { reply: false }),
        ("echo-reply", _) => Ok(Kind::Echo { reply: true }),
        ("arp", _) => Ok(Kind::Ethernet(crate::wire::ethernet::ether_type::ARP)),
        ("ethertype", hex) => Ok(Kind::Ethernet(u16::from_str_radix(hex.trim_start_matches("0x"), 16).map_err(|why| why.to_string())?)),
        ("ip", protocol) => Ok(Kind::Ip(number(protocol)?)),
        ("esp", which) => association(which).map(|(spi, sequence)| Kind::Esp { spi, sequence }),
        ("ah", which) => association(which).map(|(spi, sequence)| Kind::Ah { spi, sequence }),
        ("icmp", which) => {
            let (kind, code) = which.split_once('/').ok_or("icmp=TYPE/CODE")?;
            Ok(Kind::Icmp { kind: number(kind)?, code: number(code)? })
        }
        (letters, _) => letters.chars().try_fold(0, |set, letter| Ok(set | flag(letter)?)).map(Kind::Tcp),
    }
}

fn association(text: &str) -> Result<(u32, u32), String> {
    let (spi, sequence) = text.split_once('/').ok_or("SPI/SEQUENCE")?;
    Ok((number(spi)?, number(sequence)?))
}

fn flag(letter: char) -> Result<u8, String> {
    Ok(match letter {
        'F' => flags::FIN,
        'S' => flags::SYN,
        'R' => flags::RST,
        'P' => flags::PSH,
        'A' => flags::ACK,
        'U' => flags::URG,
        'E' => flags::ECE,
        'W' => flags::CWR,
        '-' => 0,
        other => return Err(format!("no flag: {other}")),
    })
}

fn edit(word: &str) -> Result<Edit, String> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    Ok(match key {
        "win" => Edit::Window(number(value)?),
        "ws" => Edit::Options(vec![3, 3, number(value)?, 1]),
        "mss" => {
            let [high, low] = number::<u16>(value)?.to_be_bytes();
            Edit::Options(vec![2, 4, high, low])
        }
        "opt" => Edit::Options(bytes(value)?),
        "urg" => Edit::Urgent(number(value)?),
        "doff" => Edit::DataOffset(number(value)?),
        "iplen" => Edit::IpLength(number(value)?),
        "ihl" => Edit::HeaderLength(number(value)?),
        "version" => Edit::Version(number(value)?),
        "cut" => Edit::Cut(number(value)?),
        "pad" => Edit::Pad(number(value)?),
        "ipopt" => Edit::IpOptions(bytes(value)?),
        "ext" => Edit::Extensions(value.split(',').map(number).collect::<Result<_, _>>()?),
        "inner" => Edit::InnerExtensions(value.split(',').map(number).collect::<Result<_, _>>()?),
        "rh" => {
            let (kind, left) = value.split_once('/').ok_or("rh=TYPE/LEFT")?;
            Edit::Routing(number(kind)?, number(left)?)
        }
        "long" => Edit::LongOptions(number(value)?),
        "frag" => fragment(value)?,
        "id" => Edit::Identification(number(value)?),
        "next" => Edit::NextHeader(number(value)?),
        "df" => Edit::DontFragment,
        "vlan" => Edit::Vlan(number(value)?),
        "csum" if value == "bad" => Edit::BadChecksum,
        "tcpsum" if value == "bad" => Edit::TcpChecksum { unfinished: false },
        "tcpsum" if value == "unfinished" => Edit::TcpChecksum { unfinished: true },
        "rsv" => Edit::Reserved(number(value)?),
        "ts" => Edit::Timestamp(number(value)?),
        "sack" => Edit::Sack(value.split(',').map(block).collect::<Result<_, _>>()?),
        "data" => Edit::Data(number(value)?),
        "ctcp" => association(value).map(|(spi, sequence)| Edit::Ctcp { spi, sequence, trailer: true })?,
        "inesp" => association(value).map(|(spi, sequence)| Edit::Ctcp { spi, sequence, trailer: false })?,
        "ctcp-ike" => Edit::CtcpIke,
        "magic" => Edit::Spoil(Spoiled::Magic),
        "trailer" => Edit::Spoil(Spoiled::Trailer),
        "bad-ike" => Edit::Spoil(Spoiled::Ike),
        "src" => Edit::Source(place(value)?),
        "dst" => Edit::Destination(place(value)?),
        "sport" => Edit::SourcePort(number(value)?),
        "dport" => Edit::DestinationPort(number(value)?),
        "udplen" => Edit::UdpLength(number(value)?),
        "hops" => Edit::HopLimit(number(value)?),
        "bytes" => Edit::Bytes(bytes(value)?),
        "size" => Edit::Size(number(value)?),
        "rest" => Edit::Rest(bytes(value)?.try_into().map_err(|_| "four bytes")?),
        "quote" => Edit::Quote(number(value)?),
        "mtu" => Edit::Mtu(number(value)?),
        "zone" => Edit::Zone(number(value)?),
        "before" => Edit::Before,
        "behind" => Edit::Behind,
        _ => return Err(format!("no edit: {word}")),
    })
}

fn block(text: &str) -> Result<(i64, i64), String> {
    let (left, right) = text.split_once(':').ok_or("sack=LEFT:RIGHT")?;
    Ok((number(left)?, number(right)?))
}

fn fragment(text: &str) -> Result<Edit, String> {
    let (text, more) = text.strip_suffix('+').map_or((text, false), |text| (text, true));
    let (offset, length) = text.split_once(':').ok_or("frag=OFFSET:LENGTH")?;
    Ok(Edit::Fragment { offset: number(offset)?, length: number(length)?, more })
}

fn place(text: &str) -> Result<Place, String> {
    Ok(match text {
        "loopback" => Place::Loopback,
        "zero" => Place::Zero,
        "multicast" => Place::Multicast,
        "peer" => Place::Peer,
        "client" => Place::Client,
        "link-local" => Place::LinkLocal,
        "solicited" => Place::Solicited,
        other => return Err(format!("no place: {other}")),
    })
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(format!("not whole bytes: {text}"));
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|why| why.to_string())).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("no number here: {text}"))
}
