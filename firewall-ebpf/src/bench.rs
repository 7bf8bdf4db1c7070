//! Programs that `cargo xtask bench` runs; built with feature `bench` alone and never shipped.
//!
//! A test run repeats one frame. So that it meets many flows, each program first rewrites the frame: it takes the next number from
//! [`DRIVE`] and makes it a flow (of as many as are asked for, in an order no prefetcher guesses), a direction and a sequence number, such
//! that every segment is one a real connection would send next. The rewriting costs the same in every program; `drive_empty` tells how much.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use firewall_common::{
    env::{Arrival, Env},
    packet::Packet,
    parse::Descriptor,
    pipeline::pipeline,
    verdict::Verdict,
};

use crate::{context::XdpFrame, env::Kernel};

/// What the driver makes of its counter. Written by the benchmark between runs, while none is under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Drive {
    /// Frames driven so far.
    pub count: u64,
    /// Flows to spread over: a power of two.
    pub flows: u64,
    /// Odd: multiplying by it modulo a power of two visits every flow once a round, in scattered order.
    pub stride: u64,
    /// [`FIXED`], [`FRESH`], or 1 for conversations.
    pub mode: u64,
    /// Sum of all words under the TCP checksum but sequence and acknowledgement number and the flow's number in the initiator's address.
    pub sum: u64,
    /// Sum of the words of the IPv4 header but for addresses and checksum.
    pub ip_sum: u64,
    /// The frame from behind the acknowledgement number on: a path that rewrites it must find it as it was.
    pub rest: [u64; REST],
    /// By how much the numbers each side sees of the other's differ from those sent: the initiator's, the responder's. Not 0 only where all
    /// frames are of one flow whose sequence numbers are randomized.
    pub shift: [u32; 2],
}

/// Words of [`Drive::rest`]: the header's end, and room for all options there can be.
pub const REST: usize = 6;

/// The frame stays as it is.
const FIXED: u64 = 0;
/// Every frame is of a flow not seen before. In any other mode each round over the flows is one segment of each: initiator and responder in
/// turn.
const FRESH: u64 = 2;

#[map]
pub static DRIVE: Array<Drive> = Array::with_max_entries(1, 0);

const ETHERNET: usize = 14;
const HOP_LIMIT: usize = ETHERNET + 8;
const IP_CHECKSUM: usize = ETHERNET + 10;
const SOURCE: usize = ETHERNET + 12;
const DESTINATION: usize = ETHERNET + 16;
const TCP: usize = ETHERNET + 20;
const TCP_REST: usize = TCP + 12;
const TCP_CHECKSUM: usize = TCP + 16;
/// Bytes that are rewritten.
const REWRITTEN: usize = TCP_REST + 8 * REST;

/// 10.0.0.0: the flow's number is its initiator's low bits.
const INITIATORS: u32 = 0x0a00_0000;
/// 203.0.113.1, the one responder.
const RESPONDER: u32 = 0xcb00_7101;
const INITIATOR_PORT: u16 = 40_000;
const RESPONDER_PORT: u16 = 443;
/// Bytes of payload in each segment, and first numbers of both sides, as the benchmark puts them into the flows' records.
const PAYLOAD: u32 = 100;
const INITIATOR_FIRST: u32 = 1_000;
const RESPONDER_FIRST: u32 = 2_000;

/// Rewrites the frame; false when it is not the benchmark's.
#[inline(always)]
fn drive(context: &XdpContext) -> bool {
    let Some(drive) = DRIVE.get_ptr_mut(0) else { return false };
    // SAFETY: the map's only element; the benchmark runs on one CPU at a time.
    let drive = unsafe { &mut *drive };
    let number = drive.count;
    drive.count += 1;
    let mode = drive.mode;
    let start = context.data();
    if start + REWRITTEN > context.data_end() {
        return false;
    }
    if mode == FIXED {
        return true;
    }
    let round = number.checked_div(drive.flows).unwrap_or(0) as u32;
    let flow = if mode == FRESH { number as u32 } else { (number.wrapping_mul(drive.stride) & (drive.flows - 1)) as u32 };
    let initiator = INITIATORS | (flow & 0x00ff_ffff);
    let from_initiator = mode == FRESH || round & 1 == 0;
    let turn = (round >> 1) * PAYLOAD;
    let (source, destination, ports, seq, ack) = if from_initiator {
        (
            initiator,
            RESPONDER,
            (INITIATOR_PORT, RESPONDER_PORT),
            INITIATOR_FIRST + turn,
            (RESPONDER_FIRST + turn).wrapping_add(drive.shift[1]),
        )
    } else {
        (
            RESPONDER,
            initiator,
            (RESPONDER_PORT, INITIATOR_PORT),
            RESPONDER_FIRST + turn,
            (INITIATOR_FIRST + turn + PAYLOAD).wrapping_add(drive.shift[0]),
        )
    };
    // Addresses are all that changes of the IPv4 header, and in either direction they are the same two.
    let sum = (RESPONDER >> 16) + (RESPONDER & 0xffff) + (initiator >> 16) + (initiator & 0xffff) + drive.ip_sum as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let tcp = drive.sum as u32 + (flow >> 16 & 0xff) + (flow & 0xffff) + (seq >> 16) + (seq & 0xffff) + (ack >> 16) + (ack & 0xffff);
    let tcp = (tcp & 0xffff) + (tcp >> 16);
    let tcp = (tcp & 0xffff) + (tcp >> 16);
    // SAFETY: all of it lies below REWRITTEN, which lies in the frame.
    unsafe {
        for (word, value) in drive.rest.iter().enumerate() {
            core::ptr::write_volatile((start + TCP_REST + 8 * word) as *mut u64, *value);
        }
        write16(start + TCP_CHECKSUM, !(tcp as u16));
        *((start + HOP_LIMIT) as *mut u8) = 64;
        write16(start + IP_CHECKSUM, !(sum as u16));
        write32(start + SOURCE, source);
        write32(start + DESTINATION, destination);
        write16(start + TCP, ports.0);
        write16(start + TCP + 2, ports.1);
        write32(start + TCP + 4, seq);
        write32(start + TCP + 8, ack);
    }
    true
}

/// # Safety
/// Two bytes at `at` lie in the frame.
#[inline(always)]
unsafe fn write16(at: usize, value: u16) {
    // SAFETY: the caller's promise; the kernels this runs on allow it at any address.
    unsafe { core::ptr::write_volatile(at as *mut u16, value.to_be()) };
}

/// # Safety
/// Four bytes at `at` lie in the frame.
#[inline(always)]
unsafe fn write32(at: usize, value: u32) {
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(at as *mut u32, value.to_be()) };
}

/// The driver alone: what it costs, and the lower floor.
#[xdp(frags)]
pub fn drive_empty(context: XdpContext) -> u32 {
    if drive(&context) { xdp_action::XDP_PASS } else { xdp_action::XDP_ABORTED }
}

/// The least a flow tracker can cost: parse, one lookup in the table of established flows, count the packet there.
#[xdp(frags)]
pub fn drive_lookup(context: XdpContext) -> u32 {
    if !drive(&context) {
        return xdp_action::XDP_ABORTED;
    }
    let frame = XdpFrame::new(&context);
    let mut descriptor = Descriptor::EMPTY;
    if frame.describe(false, &mut descriptor).is_err() {
        return xdp_action::XDP_DROP;
    }
    let kernel = Kernel::new(&context);
    let Some(found) = kernel.established(&descriptor.key) else { return xdp_action::XDP_DROP };
    // SAFETY: the pointer came from the lookup above; two CPUs may lose a count to each other, which a floor may.
    let flow = unsafe { &mut *found };
    flow.initiator.packets += 1;
    flow.initiator.bytes += u64::from(descriptor.ip_length);
    xdp_action::XDP_PASS
}

/// The whole path.
#[xdp(frags)]
pub fn drive_pipeline(context: XdpContext) -> u32 {
    if !drive(&context) {
        return xdp_action::XDP_ABORTED;
    }
    judge(&context)
}

/// Lets the pipeline judge the frame.
#[inline(always)]
fn judge(context: &XdpContext) -> u32 {
    let interface = context.ingress_ifindex() as u32;
    let ours = crate::lookup(interface);
    let frame = XdpFrame::new(context);
    let kernel = Kernel::new(context);
    let Some(visit) = kernel.visit(Arrival { zone: ours.zone, place: ours.place, egress: false }) else { return xdp_action::XDP_ABORTED };
    match pipeline(&frame, &kernel, visit) {
        Verdict::Learn | Verdict::NoLearn => xdp_action::XDP_PASS,
        Verdict::Drop(_) | Verdict::Answer => xdp_action::XDP_DROP,
    }
}

/// Bytes of a first packet's frame.
const FIRST: usize = 96;

/// A first packet's frame with source port 0, and what it is. Written by the benchmark between runs, while none is under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct First {
    pub frame: [u64; FIRST / 8],
    /// Offset of the transport header: 34 for IPv4, 54 for IPv6.
    pub transport: u32,
    /// Offset of its checksum in it: 16 for TCP, 6 for UDP.
    pub checksum: u32,
}

/// First packets by kind, each as many as [`Turns::mask`] and one.
#[map]
pub static FIRSTS: Array<First> = Array::with_max_entries(1 << 12, 0);

/// Which of them take turns. Written by the benchmark between runs, while none is under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Turns {
    /// Frames driven so far.
    pub count: u64,
    /// The first of the kind.
    pub from: u32,
    /// A power of two less one.
    pub mask: u32,
}

#[map]
pub static TURNS: Array<Turns> = Array::with_max_entries(1, 0);

/// As in [`Drive`]; odd, and nothing else.
const TURN_STRIDE: u64 = 0x9e37_79b1;

/// Makes the frame the next first packet, of a flow that was not there before: each round over the packets has another source port.
#[inline(always)]
fn drive_first(context: &XdpContext) -> bool {
    let Some(turns) = TURNS.get_ptr_mut(0) else { return false };
    // SAFETY: the map's only element; the benchmark runs on one CPU at a time.
    let turns = unsafe { &mut *turns };
    let number = turns.count;
    turns.count += 1;
    let at = turns.from + (number.wrapping_mul(TURN_STRIDE) as u32 & turns.mask);
    let port = 1_024 + (number / (u64::from(turns.mask) + 1)) as u32 % 60_000;
    let Some(first) = FIRSTS.get(at) else { return false };
    let start = context.data();
    if start + FIRST > context.data_end() {
        return false;
    }
    // SAFETY: all of it lies below FIRST, which lies in the frame.
    unsafe {
        for (word, value) in first.frame.iter().enumerate() {
            core::ptr::write_volatile((start + 8 * word) as *mut u64, *value);
        }
        match (first.transport, first.checksum) {
            (34, 16) => set_source_port(start + 34, 16, port),
            (34, _) => set_source_port(start + 34, 6, port),
            (_, 16) => set_source_port(start + 54, 16, port),
            _ => set_source_port(start + 54, 6, port),
        }
    }
    true
}

/// # Safety
/// A transport header at `at` lies in the frame.
#[inline(always)]
unsafe fn set_source_port(at: usize, checksum: usize, port: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        write16(at, port as u16);
        add_to_checksum(at + checksum, port);
    }
}

/// The driver of first packets alone: what it costs.
#[xdp(frags)]
pub fn first_empty(context: XdpContext) -> u32 {
    if drive_first(&context) { xdp_action::XDP_PASS } else { xdp_action::XDP_ABORTED }
}

/// The least a first packet can cost: parse, and one lookup that finds nothing.
#[xdp(frags)]
pub fn first_lookup(context: XdpContext) -> u32 {
    if !drive_first(&context) {
        return xdp_action::XDP_ABORTED;
    }
    let frame = XdpFrame::new(&context);
    let mut descriptor = Descriptor::EMPTY;
    if frame.describe(false, &mut descriptor).is_err() {
        return xdp_action::XDP_ABORTED;
    }
    let kernel = Kernel::new(&context);
    if kernel.established(&descriptor.key).is_some() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// The whole path of a first packet.
#[xdp(frags)]
pub fn first_pipeline(context: XdpContext) -> u32 {
    if !drive_first(&context) {
        return xdp_action::XDP_ABORTED;
    }
    judge(&context)
}

/// Bytes of every frame the generator sends: the least Ethernet allows.
const FRAME: usize = 64;

/// A frame and how it differs from flow to flow. Written by the benchmark between runs, while none is under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Template {
    /// Frames sent of it so far.
    pub count: u64,
    /// As in [`Drive`].
    pub flows: u64,
    /// As in [`Drive`].
    pub stride: u64,
    /// Sequence number of each flow's first segment, and by how much that of the next is greater.
    pub seq: u32,
    pub step: u32,
    /// Not 0: the frame is the responder's, and the initiator is its destination.
    pub from_responder: u64,
    /// The frame for an initiator whose address ends in 16 zero bits, with sequence number 0 and valid checksums.
    pub frame: [u64; FRAME / 8],
}

#[map]
pub static TEMPLATE: Array<Template> = Array::with_max_entries(1, 0);

/// Frames that reached [`count_and_drop`].
#[map]
pub static RECEIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Sends the template's next frame; runs on live frames. The whole frame is written: its page was another frame before, which whoever
/// received it may have changed.
#[xdp(frags)]
pub fn generate(context: XdpContext) -> u32 {
    let Some(template) = TEMPLATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the map's only element; the benchmark runs on one CPU at a time.
    let template = unsafe { &mut *template };
    let start = context.data();
    if start + FRAME > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    let number = template.count;
    template.count += 1;
    let round = number.checked_div(template.flows).unwrap_or(0) as u32;
    let flow = (number.wrapping_mul(template.stride) & (template.flows - 1)) as u32 & 0xffff;
    let seq = template.seq.wrapping_add(round.wrapping_mul(template.step));
    let initiator = if template.from_responder == 0 { SOURCE } else { DESTINATION };
    // SAFETY: all of it lies below FRAME, which lies in the frame.
    unsafe {
        for (word, value) in template.frame.iter().enumerate() {
            core::ptr::write_volatile((start + 8 * word) as *mut u64, *value);
        }
        write16(start + initiator + 2, flow as u16);
        write32(start + TCP + 4, seq);
        add_to_checksum(start + IP_CHECKSUM, flow);
        add_to_checksum(start + TCP_CHECKSUM, flow + (seq >> 16) + (seq & 0xffff));
    }
    xdp_action::XDP_TX
}

/// Mends a checksum for words that were 0 and now sum to `sum` (RFC 1624).
///
/// # Safety
/// Two bytes at `at` lie in the frame.
#[inline(always)]
unsafe fn add_to_checksum(at: usize, sum: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let old = u16::from_be(core::ptr::read_volatile(at as *const u16));
        let sum = u32::from(!old) + sum;
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        write16(at, !(sum as u16));
    }
}

/// The end of a path: counts the frame and drops it.
#[xdp(frags)]
pub fn count_and_drop(_: XdpContext) -> u32 {
    if let Some(received) = RECEIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe { *received += 1 };
    }
    xdp_action::XDP_DROP
}
