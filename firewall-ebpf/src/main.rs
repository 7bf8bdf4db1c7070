//! Entry points of Weir's dataplane. Nothing is decided here: every program hands its packet to the pipeline.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

mod maps;

/// XDP, attached to every interface.
#[xdp(frags)]
pub fn ingress(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// TC egress: what the box itself sends.
#[classifier]
pub fn egress(_context: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers the dataplane calls are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
