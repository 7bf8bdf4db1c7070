//! Classic socket filters (`bpf(2)`'s older relative, as in the kernel's `Documentation/networking/filter.rst`): what a packet socket sees.

use socket2::SockFilter;

/// Where an Ethernet frame without tags has its type, and the ports behind IP headers without options and extensions.
const ETHER_TYPE: u32 = 12;
const PORTS_V4: u32 = 14 + 20;
const PORTS_V6: u32 = 14 + 40;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// So many first bytes of frames that go out.
pub fn outgoing(bytes: u32) -> Vec<SockFilter> {
    vec![load_type(), jump_if(libc::PACKET_OUTGOING.into(), 0, 1), take(bytes), take(0)]
}

/// The same of frames of TCP, UDP and the like from or to this port alone.
pub fn outgoing_of_port(bytes: u32, port: u16) -> Vec<SockFilter> {
    let port = port.into();
    // A jump says how many instructions are left out: when the value is there, and when not.
    vec![
        load_type(),
        jump_if(libc::PACKET_OUTGOING.into(), 0, 12),
        load_u16(ETHER_TYPE),
        jump_if(IPV4, 0, 4),
        load_u16(PORTS_V4),
        jump_if(port, 7, 0),
        load_u16(PORTS_V4 + 2),
        jump_if(port, 5, 6),
        jump_if(IPV6, 0, 5),
        load_u16(PORTS_V6),
        jump_if(port, 2, 0),
        load_u16(PORTS_V6 + 2),
        jump_if(port, 0, 1),
        take(bytes),
        take(0),
    ]
}

/// The frame's type as the kernel keeps it beside its bytes: coming in, going out, for others.
fn load_type() -> SockFilter {
    let place = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, place)
}

fn load_u16(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16, 0, 0, at)
}

fn jump_if(value: u32, there: u8, not: u8) -> SockFilter {
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, there, not, value)
}

fn take(bytes: u32) -> SockFilter {
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, bytes)
}
