//! [`Packet`] for both kinds of programs: direct access to the first buffer, helpers for what has variable length.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_pull_data, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    packet::{OPTIONS_ROOM, Packet},
    parse::Descriptor,
    reason::Reason,
    wire::options,
};

use crate::stages;

/// Largest offset of a header that is read. Two VLAN tags, the longest extension chain walked and a TCP header end before it; the
/// verifier accepts only offsets it can see to be small.
const MOST_OFFSET: u32 = 0x3ff;

/// Bytes asked of the kernel to lie in the first buffer before a TC program reads headers.
const HEADERS: u32 = 192;

/// Reads `N` bytes at `at`, bounded by the first buffer.
///
/// # Safety
/// `data` and `data_end` are a program context's packet pointers, and stay valid for `'a`.
#[inline(always)]
unsafe fn read<'a, const N: usize>(data: usize, data_end: usize, at: u32) -> Option<&'a [u8; N]> {
    if at > MOST_OFFSET {
        return None;
    }
    let start = data + at as usize;
    if start + N > data_end {
        return None;
    }
    // SAFETY: the bytes from `start` to `start + N` lie in the packet, and an array of bytes has no alignment.
    Some(unsafe { &*(start as *const [u8; N]) })
}

/// The frame an XDP program was called with.
pub struct XdpFrame {
    context: *mut xdp_md,
}

impl XdpFrame {
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self { context: context.ctx }
    }

    /// The frame again, in a stage behind the parser.
    #[inline(always)]
    pub fn described(context: &XdpContext) -> Self {
        Self::new(context)
    }

    /// Bytes of the first buffer.
    #[inline(always)]
    fn first(&self) -> u32 {
        // SAFETY: the verifier knows the context's fields.
        unsafe { (*self.context).data_end - (*self.context).data }
    }
}

impl Packet for XdpFrame {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the helper takes the kernel's own context.
        unsafe { bpf_xdp_get_buff_len(self.context) as u32 }
    }

    #[inline(always)]
    fn holds(&self, end: u32) -> bool {
        end <= self.first() || end <= self.length()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        // SAFETY: the pointers are this frame's, which nothing changes while it is borrowed.
        unsafe { read((*self.context).data as usize, (*self.context).data_end as usize, at) }
    }

    #[inline(always)]
    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        if length == 0 || length > options::MOST {
            return false;
        }
        // SAFETY: `length` is at most the buffer's size; the helper checks the frame's end.
        unsafe { bpf_xdp_load_bytes(self.context, at, buffer.as_mut_ptr().cast::<c_void>(), length) == 0 }
    }

    #[inline(always)]
    fn describe(&self, _egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
        stages::result(stages::parse_xdp(self.context, descriptor))
    }

    #[inline(always)]
    fn quote(&self, descriptor: &mut Descriptor) -> Result<(), Reason> {
        stages::result(stages::quote_xdp(self.context, descriptor))
    }

    #[inline(always)]
    fn headers_cut(&self, end: u32) -> bool {
        end > self.first() && end <= self.length()
    }
}

/// The packet a TC program was called with.
pub struct SkbFrame {
    context: *mut __sk_buff,
    length: u32,
}

impl SkbFrame {
    /// Also brings the headers into the first buffer, where they are read.
    #[inline(always)]
    pub fn new(context: &TcContext) -> Self {
        let skb = context.as_ptr().cast::<__sk_buff>();
        // SAFETY: the verifier knows the context's fields; the helper takes the kernel's own context.
        unsafe {
            let length = (*skb).len;
            let wanted = if length < HEADERS { length } else { HEADERS };
            if (*skb).data_end - (*skb).data < wanted {
                // A failure leaves the headers out of reach, which the parser reports.
                let _ = bpf_skb_pull_data(skb, wanted);
            }
            Self { context: skb, length }
        }
    }

    /// The packet again, in a stage behind the parser: its headers lie in the first buffer already.
    #[inline(always)]
    pub fn described(context: &TcContext) -> Self {
        let skb = context.as_ptr().cast::<__sk_buff>();
        // SAFETY: the verifier knows the context's fields.
        Self { context: skb, length: unsafe { (*skb).len } }
    }
}

impl Packet for SkbFrame {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        // SAFETY: the pointers are this packet's, which nothing changes while it is borrowed.
        unsafe { read((*self.context).data as usize, (*self.context).data_end as usize, at) }
    }

    #[inline(always)]
    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        if length == 0 || length > options::MOST {
            return false;
        }
        // SAFETY: `length` is at most the buffer's size; the helper checks the packet's end.
        unsafe { bpf_skb_load_bytes(self.context.cast::<c_void>(), at, buffer.as_mut_ptr().cast::<c_void>(), length) == 0 }
    }

    #[inline(always)]
    fn describe(&self, _egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
        stages::result(stages::parse_skb(self.context, descriptor))
    }

    #[inline(always)]
    fn quote(&self, descriptor: &mut Descriptor) -> Result<(), Reason> {
        stages::result(stages::quote_skb(self.context, descriptor))
    }

    #[inline(always)]
    fn headers_cut(&self, end: u32) -> bool {
        // SAFETY: the verifier knows the context's fields.
        let first = unsafe { (*self.context).data_end - (*self.context).data };
        end <= self.length && end > first
    }
}
