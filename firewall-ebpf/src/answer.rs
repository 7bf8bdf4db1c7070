//! Turns a rejected frame into the answer to its sender and sends it back by the interface it came in by.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes},
    programs::XdpContext,
};
use firewall_common::{
    answer::{self, ROOM},
    packet::Packet,
    parse::Descriptor,
};

use crate::context::XdpFrame;

const MAC: usize = 6;

/// The action for a rejected frame. Whatever stands in the way of an answer, the frame is dropped.
#[inline(always)]
pub fn answer(context: &XdpContext, descriptor: &Descriptor) -> u32 {
    answer_xdp(context.ctx, descriptor)
}

/// A global function, as in [`crate::stages`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_xdp(context: *mut xdp_md, descriptor: *const Descriptor) -> u32 {
    // SAFETY: the caller's descriptor or null.
    let Some(descriptor) = (unsafe { descriptor.as_ref() }) else { return xdp_action::XDP_DROP };
    let frame = XdpFrame::new(&XdpContext::new(context));
    let mut bytes = [0; ROOM];
    let Some(link) = frame.read::<{ 2 * MAC }>(0).copied() else { return xdp_action::XDP_DROP };
    // What was sent to a group of stations is answered by none of them.
    if link[0] & 1 != 0 {
        return xdp_action::XDP_DROP;
    }
    let Some(length) = answer::write(&frame, descriptor, &mut bytes) else { return xdp_action::XDP_DROP };
    let turned = turn_round(link);
    let resize = (descriptor.ip_at + length).wrapping_sub(frame.length()) as i32;
    let length = if length > ROOM as u32 { ROOM as u32 } else { length };
    // SAFETY: the helpers check offsets and lengths against the frame; the buffers are at least as long as is said.
    let sent = unsafe {
        bpf_xdp_adjust_tail(context, resize) == 0
            && bpf_xdp_store_bytes(context, descriptor.ip_at, bytes.as_mut_ptr().cast::<c_void>(), length) == 0
            && bpf_xdp_store_bytes(context, 0, turned.as_ptr().cast_mut().cast::<c_void>(), turned.len() as u32) == 0
    };
    if sent { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

/// Source and destination of the link, exchanged.
#[inline(always)]
fn turn_round(link: [u8; 2 * MAC]) -> [u8; 2 * MAC] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = link;
    [g, h, i, j, k, l, a, b, c, d, e, f]
}
