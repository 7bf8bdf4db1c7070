//! Entry points of Weir's dataplane. Nothing is decided here: every program hands its packet to the pipeline.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "compare-and-swap and fetching additions have no stable form on this target")]
#![feature(core_intrinsics)]

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    config::{Interface, interface_flags},
    env::Arrival,
    pipeline::pipeline,
    verdict::Verdict,
};

mod answer;
#[cfg(feature = "bench")]
mod bench;
mod context;
mod env;
mod lock;
mod maps;
mod route;
mod stages;
mod sum;

use context::{SkbFrame, XdpFrame};
use env::Kernel;

/// XDP, attached to every interface: judges everything that comes in.
#[xdp(frags)]
pub fn ingress(context: XdpContext) -> u32 {
    let interface = context.ingress_ifindex() as u32;
    let ours = lookup(interface);
    let frame = XdpFrame::new(&context);
    let kernel = Kernel::new(&context);
    let Some(visit) = kernel.visit(Arrival { zone: ours.zone, place: ours.place, egress: false }) else { return xdp_action::XDP_DROP };
    visit.software = ours.flags & interface_flags::UNFINISHED_CHECKSUMS != 0;
    match pipeline(&frame, &kernel, visit) {
        Verdict::Learn | Verdict::NoLearn => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Answer => answer::answer(&context, &visit.descriptor),
    }
}

/// TC egress, attached to every interface: judges what the box itself sends. What came in by one of our interfaces was judged there.
#[classifier]
pub fn egress(context: TcContext) -> i32 {
    let skb = context.as_ptr().cast::<__sk_buff>();
    // SAFETY: the verifier knows the context's fields.
    let (came_by, interface) = unsafe { ((*skb).ingress_ifindex, (*skb).ifindex) };
    // TC_ACT_UNSPEC leaves the packet to the programs and filters behind this one.
    if came_by != 0 && lookup(came_by).place != 0 {
        return TC_ACT_UNSPEC;
    }
    let ours = lookup(interface);
    let frame = SkbFrame::new(&context);
    let kernel = Kernel::new(&context);
    let Some(visit) = kernel.visit(Arrival { zone: ours.zone, place: ours.place, egress: true }) else { return TC_ACT_SHOT };
    match pipeline(&frame, &kernel, visit) {
        Verdict::Learn | Verdict::NoLearn => TC_ACT_UNSPEC,
        Verdict::Drop(_) | Verdict::Answer => TC_ACT_SHOT,
    }
}

/// What the controller says of an interface; all zero for one that is not ours.
#[inline(always)]
fn lookup(interface: u32) -> Interface {
    maps::INTERFACES.get(interface).copied().unwrap_or_default()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic; if something could, this loop would make the verifier refuse the program.
    loop {}
}

/// The helpers the dataplane calls are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
