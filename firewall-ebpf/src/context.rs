//! [`Packet`] for both kinds of programs: direct access to the first buffer, helpers for what has variable length.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
        bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    normalize::checksum,
    packet::{OPTIONS_ROOM, Packet},
    parse::Descriptor,
    reason::Reason,
    verifier::opaque,
    wire::tcp,
};

use crate::{
    stages,
    sum::{self, Source},
};

/// Largest offset of a header that is read. Two VLAN tags, the longest extension chain walked and a TCP header end before it; the
/// verifier accepts only offsets it can see to be small.
const MOST_OFFSET: u32 = 0x3ff;

/// Bytes asked of the kernel to lie in the first buffer before a TC program reads headers.
const HEADERS: u32 = 192;

/// Bytes of a TCP header with all the options there can be.
const LONGEST_HEADER: u32 = 60;
const CHECKSUM: usize = checksum::FIELD as usize;
/// Bytes of a TCP header from behind its checksum on.
const BEHIND: usize = CHECKSUM + 2;

/// The length of a TCP header, if it is one. What is compared is the part that may vary, and the length is made of it again: older verifiers
/// (6.1) learn nothing of a number from a comparison with another one made of it.
#[inline(always)]
fn header_length(length: u32) -> Option<u32> {
    let options = opaque(length.wrapping_sub(tcp::HEADER));
    if options > LONGEST_HEADER - tcp::HEADER { None } else { Some(options + tcp::HEADER) }
}

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

impl Source for XdpFrame {
    #[inline(always)]
    fn load(&self, at: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: the caller's buffer is as long; the helper checks the frame's end.
        unsafe { bpf_xdp_load_bytes(self.context, at, to, length) == 0 }
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
        let last = opaque(length.wrapping_sub(1));
        // The helper's length is then from 1 to the buffer's size, whatever has been known of it.
        last < OPTIONS_ROOM as u32 && self.load(at, buffer.as_mut_ptr().cast::<c_void>(), last + 1)
    }

    #[inline(always)]
    fn sum(&self, at: u32, length: u32) -> Option<u32> {
        sum::sum(self, at, length)
    }

    #[inline(always)]
    fn store_header(&self, at: u32, header: &[u8; OPTIONS_ROOM], length: u32, difference: Option<u32>) -> bool {
        let Some(length) = header_length(length) else { return false };
        let field = u16::from_ne_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
        let mut mended = difference.map_or(field, |difference| checksum::mended(field, difference)).to_ne_bytes();
        // SAFETY: the buffers are as long as is said; the helper checks the frame's end.
        unsafe {
            bpf_xdp_store_bytes(self.context, at, header.as_ptr().cast_mut().cast::<c_void>(), length) == 0
                && bpf_xdp_store_bytes(self.context, at + checksum::FIELD, mended.as_mut_ptr().cast::<c_void>(), 2) == 0
        }
    }

    #[inline(always)]
    fn store_word(&self, at: u32, mut bytes: [u8; 4]) -> bool {
        // SAFETY: four bytes, and the helper checks the frame's end.
        unsafe { bpf_xdp_store_bytes(self.context, at, bytes.as_mut_ptr().cast::<c_void>(), 4) == 0 }
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

impl Source for SkbFrame {
    #[inline(always)]
    fn load(&self, at: u32, to: *mut c_void, length: u32) -> bool {
        // SAFETY: the caller's buffer is as long; the helper checks the packet's end.
        unsafe { bpf_skb_load_bytes(self.context.cast::<c_void>(), at, to, length) == 0 }
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
        let last = opaque(length.wrapping_sub(1));
        // The helper's length is then from 1 to the buffer's size, whatever has been known of it.
        last < OPTIONS_ROOM as u32 && self.load(at, buffer.as_mut_ptr().cast::<c_void>(), last + 1)
    }

    #[inline(always)]
    fn sum(&self, at: u32, length: u32) -> Option<u32> {
        sum::sum(self, at, length)
    }

    /// The kernel mends the checksum: it knows whether a device is to finish it, and then leaves it alone.
    #[inline(always)]
    fn store_header(&self, at: u32, header: &[u8; OPTIONS_ROOM], length: u32, difference: Option<u32>) -> bool {
        let Some(length) = header_length(length) else { return false };
        let behind = length - BEHIND as u32;
        // SAFETY: the buffer is as long as is said; the helpers check the packet's end.
        unsafe {
            bpf_skb_store_bytes(self.context, at, header.as_ptr().cast::<c_void>().cast_mut(), CHECKSUM as u32, 0) == 0
                && bpf_skb_store_bytes(self.context, at + BEHIND as u32, header.as_ptr().add(BEHIND).cast::<c_void>().cast_mut(), behind, 0)
                    == 0
                && difference
                    .is_none_or(|difference| bpf_l4_csum_replace(self.context, at + checksum::FIELD, 0, u64::from(difference), 0) == 0)
        }
    }

    #[inline(always)]
    fn store_word(&self, at: u32, mut bytes: [u8; 4]) -> bool {
        // SAFETY: four bytes, and the helper checks the packet's end.
        unsafe { bpf_skb_store_bytes(self.context, at, bytes.as_mut_ptr().cast::<c_void>(), 4, 0) == 0 }
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
