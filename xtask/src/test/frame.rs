//! Frames made by hand, sent and seen below the kernel's TCP/IP.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use etherparse::{
    Ethernet2Header, Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header,
    PacketBuilder, SlicedPacket, TcpHeader, TransportSlice, UdpHeader, VlanId, checksum::Sum16BitWords, icmpv4,
};
use rustix::{io::Errno, net::RecvFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{filter, network::inside};
use crate::netns::Namespace;

const BUFFER: usize = 4 * 1024 * 1024;
const LONGEST_FRAME: usize = 65_600;
/// What [`Port::quiet`] takes for silence.
const SILENCE: Duration = Duration::from_millis(120);

/// One TCP segment. [`Default`] has no flags.
#[derive(Debug, Clone)]
pub struct Tcp {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    /// Letters as tcpdump writes them: `S`, `F`, `R`, `P`, `.` for ACK.
    pub flags: &'static str,
    pub payload: Vec<u8>,
}

impl Tcp {
    /// Number after the segment's last one.
    pub fn end(&self) -> u32 {
        let length = u32::try_from(self.payload.len()).unwrap_or(0);
        self.seq.wrapping_add(length).wrapping_add(u32::from(self.flag('S'))).wrapping_add(u32::from(self.flag('F')))
    }

    fn flag(&self, letter: char) -> bool {
        self.flags.contains(letter)
    }

    /// The frame between two MAC addresses, with these VLAN tags (none, one or two).
    pub fn frame(&self, from: [u8; 6], to: [u8; 6], tags: &[u16]) -> Result<Vec<u8>> {
        self.frame_with(from, to, tags, &[])
    }

    /// The same with TCP options, a multiple of four bytes.
    pub fn frame_with(&self, from: [u8; 6], to: [u8; 6], tags: &[u16], options: &[u8]) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), self.seq, 64_240);
        header.acknowledgment_number = self.ack;
        (header.syn, header.fin, header.rst) = (self.flag('S'), self.flag('F'), self.flag('R'));
        (header.psh, header.ack) = (self.flag('P'), self.flag('.'));
        header.set_options_raw(options).context("too many options")?;
        let ip = ip(self.source.ip(), self.destination.ip(), IpNumber::TCP)?;
        let ethernet = PacketBuilder::ethernet2(from, to);
        let id = |tag: u16| VlanId::try_new(tag).context("a VLAN number has 12 bits");
        let builder = match *tags {
            [] => ethernet.ip(ip),
            [tag] => ethernet.single_vlan(id(tag)?).ip(ip),
            [outer, inner] => ethernet.double_vlan(id(outer)?, id(inner)?).ip(ip),
            _ => bail!("more than two VLAN tags"),
        };
        let builder = builder.tcp_header(header);
        let mut frame = Vec::with_capacity(builder.size(self.payload.len()));
        builder.write(&mut frame, &self.payload).context("cannot write a segment")?;
        Ok(frame)
    }
}

fn ip(source: IpAddr, destination: IpAddr, protocol: IpNumber) -> Result<IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header {
                time_to_live: 64,
                protocol,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv4Header::default()
            };
            Ok(IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                hop_limit: 64,
                next_header: protocol,
                source: source.octets(),
                destination: destination.octets(),
                flow_label: Ipv6FlowLabel::ZERO,
                ..Ipv6Header::default()
            };
            Ok(IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default()))
        }
        _ => bail!("{source} and {destination} are of different families"),
    }
}

/// Part of a UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    pub identification: u16,
    /// In bytes, a multiple of eight.
    pub offset: u16,
    pub more: bool,
    pub bytes: &'a [u8],
}

impl Fragment<'_> {
    /// The frame between two MAC addresses.
    pub fn frame(&self, from: [u8; 6], to: [u8; 6], source: IpAddr, destination: IpAddr) -> Result<Vec<u8>> {
        let offset = IpFragOffset::try_new(self.offset / 8).context("an offset has 13 bits")?;
        let mut frame = [to, from].concat();
        match ip(source, destination, IpNumber::UDP)? {
            IpHeaders::Ipv4(mut header, _) => {
                header.identification = self.identification;
                (header.fragment_offset, header.more_fragments, header.dont_fragment) = (offset, self.more, false);
                header.set_payload_len(self.bytes.len()).context("too long")?;
                header.header_checksum = header.calc_header_checksum();
                frame.extend([0x08, 0x00]);
                header.write(&mut frame).context("cannot write a header")?;
            }
            IpHeaders::Ipv6(mut header, _) => {
                let fragment = Ipv6FragmentHeader::new(IpNumber::UDP, offset, self.more, self.identification.into());
                header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
                header.set_payload_length(fragment.header_len() + self.bytes.len()).context("too long")?;
                frame.extend([0x86, 0xdd]);
                header.write(&mut frame).context("cannot write a header")?;
                frame.extend(fragment.to_bytes());
            }
        }
        frame.extend_from_slice(self.bytes);
        Ok(frame)
    }
}

/// A UDP datagram, header and checksum included.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let header = match ip(source.ip(), destination.ip(), IpNumber::UDP)? {
        IpHeaders::Ipv4(ip, _) => UdpHeader::with_ipv4_checksum(source.port(), destination.port(), &ip, payload),
        IpHeaders::Ipv6(ip, _) => UdpHeader::with_ipv6_checksum(source.port(), destination.port(), &ip, payload),
    };
    Ok([&header.context("too long")?.to_bytes()[..], payload].concat())
}

/// An ICMP error of `router` to the segment's sender: the next link takes no more than `mtu` bytes.
pub fn too_big(from: [u8; 6], to: [u8; 6], router: IpAddr, segment: &Tcp, mtu: u32) -> Result<Vec<u8>> {
    let quoted = segment.frame(from, to, &[])?.split_off(Ethernet2Header::LEN);
    let builder = PacketBuilder::ethernet2(from, to).ip(ip(router, segment.source.ip(), IpNumber::ICMP)?);
    let mut frame = Vec::new();
    let written = match router {
        IpAddr::V4(_) => {
            let next_hop_mtu = u16::try_from(mtu).context("an IPv4 MTU has 16 bits")?;
            let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
            builder.icmpv4(Icmpv4Type::DestinationUnreachable(needed)).write(&mut frame, &quoted)
        }
        IpAddr::V6(_) => builder.icmpv6(Icmpv6Type::PacketTooBig { mtu }).write(&mut frame, &quoted),
    };
    written.context("cannot write an ICMP error")?;
    Ok(frame)
}

/// Reads a TCP segment out of a frame. Anything else is `None`.
pub fn tcp(frame: &[u8]) -> Option<Tcp> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
    let net = sliced.net?;
    let (source, destination): (IpAddr, IpAddr) = match (net.ipv4_ref(), net.ipv6_ref()) {
        (Some(ip), _) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        (_, Some(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return None,
    };
    let flags = match (tcp.syn(), tcp.fin(), tcp.rst(), tcp.ack()) {
        (true, false, false, false) => "S",
        (true, false, false, true) => "S.",
        (false, true, false, true) => "F.",
        (false, false, true, false) => "R",
        (false, false, true, true) => "R.",
        (false, false, false, true) => ".",
        _ => return None,
    };
    Some(Tcp {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags,
        payload: tcp.payload().to_vec(),
    })
}

/// An interface seen from below: sends any frame, and sees every frame that goes in or out.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Port {
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        Self::open_with_room(namespace, interface, BUFFER)
    }

    /// With room for frames that wait to be read: the kernel counts two thousand bytes and more for each.
    pub fn open_with_room(namespace: &Namespace, interface: &str, room: usize) -> Result<Self> {
        inside(namespace, || {
            let index = interface_index(interface)?;
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).context("cannot open a packet socket")?;
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, room).context("cannot enlarge a buffer")?;
            socket.bind(&link_address(index)?).with_context(|| format!("cannot bind to {interface}"))?;
            Ok(Self { socket })
        })
    }

    /// Sees, from now on, no more than so many first bytes of each frame, and only of those that go out; of TCP with this port alone, if one
    /// is named.
    pub fn only_outgoing(self, bytes: u32, port: Option<u16>) -> Result<Self> {
        let filter = port.map_or_else(|| filter::outgoing(bytes), |port| filter::outgoing_of_port(bytes, port));
        self.socket.attach_filter(&filter).context("cannot attach a socket filter")?;
        Ok(self)
    }

    /// Frames that found no room since the last call.
    pub fn missed(&self) -> Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the option's value has this type, which is as long as is said.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if status == 0 {
            Ok(statistics.tp_drops)
        } else {
            Err(std::io::Error::last_os_error()).context("cannot read a socket's statistics")
        }
    }

    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        // The interface's queue is full: the receiver needs a moment.
        while !self.offer(frame)? {
            if Instant::now() >= deadline {
                bail!("cannot send a frame: the interface takes none");
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Sends a frame once. False: the interface did not take it, because its queue is full or a program dropped it on its way out.
    pub fn offer(&self, frame: &[u8]) -> Result<bool> {
        match self.socket.send(frame) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(false),
            Err(error) => Err(error).context("cannot send a frame"),
        }
    }

    /// The next frame, if one is seen within `patience`.
    pub fn next(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).context("cannot set a timeout")?;
        let mut buffer = vec![0; LONGEST_FRAME];
        match (&self.socket).read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error).context("cannot receive a frame"),
        }
    }

    /// Reads a frame that has been seen already: how much of it there is room for.
    pub fn take(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(Some(length)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error).context("cannot receive a frame"),
        }
    }

    /// The next frame, if one has been seen already.
    pub fn waiting(&self) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; LONGEST_FRAME];
        let length = self.take(&mut buffer)?;
        Ok(length.map(|length| buffer.get(..length).unwrap_or_default().to_vec()))
    }

    /// Every frame seen until now and until the wire is silent.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let mut seen = Vec::new();
        while let Some(frame) = self.next(SILENCE)? {
            seen.push(frame);
        }
        Ok(seen)
    }

    /// The TCP segments among them.
    pub fn quiet(&self) -> Result<Vec<Tcp>> {
        Ok(self.frames()?.iter().filter_map(|frame| tcp(frame)).collect())
    }
}

/// Its number in the namespace this thread is in.
pub fn interface_index(interface: &str) -> Result<i32> {
    let probe = Socket::new(Domain::IPV4, Type::DGRAM, None).context("cannot open a socket")?;
    let index = rustix::net::netdevice::name_to_index(&probe, interface).with_context(|| format!("no interface {interface}"))?;
    i32::try_from(index).context("an interface number beyond all bounds")
}

/// Every protocol on one interface: `struct sockaddr_ll`, which no crate at hand builds.
fn link_address(index: i32) -> Result<SockAddr> {
    // SAFETY: the storage is large and aligned enough for every address (that is what it is for), all of sockaddr_ll's fields are
    // integers, for which zero is a value, and the length set is that of the structure written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*link).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }
    .context("cannot build a link address")?;
    Ok(address)
}

/// Sum of a segment's pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1), which a local stack leaves in place of the checksum for a device. `length`:
/// of the segment with its header.
pub fn pseudo_sum(segment: &Tcp, length: usize) -> u16 {
    let length = u16::try_from(length).unwrap_or(0).to_be_bytes();
    let sum = Sum16BitWords::new().add_2bytes([0, 6]).add_2bytes(length);
    let sum = [segment.source.ip(), segment.destination.ip()].into_iter().fold(sum, |mut sum, address| match address {
        IpAddr::V4(address) => sum.add_4bytes(address.octets()),
        IpAddr::V6(address) => sum.add_16bytes(address.octets()),
    });
    !sum.ones_complement().to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_back_with_and_without_tags() {
        let segment = Tcp {
            source: "192.0.2.2:1234".parse().expect("an address"),
            destination: "198.51.100.2:80".parse().expect("an address"),
            seq: u32::MAX - 1,
            ack: 7,
            flags: ".",
            payload: b"data".to_vec(),
        };
        for tags in [&[][..], &[5], &[5, 6]] {
            let frame = segment.frame([2; 6], [4; 6], tags).expect("written");
            assert_eq!(frame.len(), 14 + 4 * tags.len() + 20 + 20 + 4);
            let read = tcp(&frame).expect("a segment");
            assert_eq!((read.source, read.destination, read.end()), (segment.source, segment.destination, 2));
        }
        assert!(segment.frame([2; 6], [4; 6], &[1, 2, 3]).is_err());
        assert!(tcp(b"not a frame").is_none());
    }

    #[test]
    fn a_fragment_has_its_offset_and_a_right_checksum() {
        let (source, destination) = ("192.0.2.2".parse().expect("an address"), "198.51.100.2".parse().expect("an address"));
        let fragment = Fragment { identification: 7, offset: 1480, more: false, bytes: &[0; 100] };
        let frame = fragment.frame([2; 6], [4; 6], source, destination).expect("written");
        let header = Ipv4Header::from_slice(&frame[14..]).expect("a header").0;
        assert_eq!(header.fragment_offset.byte_offset(), 1480);
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(header.total_len, 120);
    }
}
