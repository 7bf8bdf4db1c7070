//! The kernel's route lookup, as `bpf_fib_lookup` takes and answers it.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_fib_lookup};
use firewall_common::{flow::Address, parse::Descriptor, reason::Reason, rule::ZONE_SELF};

use crate::maps;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The zone that a packet leaves to, which came in by the interface with this index.
///
/// # Errors
/// [`Reason::NoRoute`].
#[inline(always)]
pub fn zone(context: &impl EbpfContext, interface: u32, descriptor: &Descriptor) -> Result<u8, Reason> {
    let mut lookup = Lookup::new(descriptor, interface);
    // SAFETY: the structure has the helper's layout and length.
    let status = unsafe { bpf_fib_lookup(context.as_ptr(), (&raw mut lookup).cast(), size_of::<Lookup>() as i32, 0) };
    match Route::from_status(status) {
        Route::Local => Ok(ZONE_SELF),
        Route::Forwarded => {
            // An interface that is not ours is in no zone: nothing may be let out there unseen.
            let out = maps::INTERFACES.get(lookup.interface).copied().unwrap_or_default();
            if out.place == 0 { Err(Reason::NoRoute) } else { Ok(out.zone) }
        }
        Route::None => Err(Reason::NoRoute),
    }
}

/// `struct bpf_fib_lookup`: 64 bytes, addresses and ports in network order. The binding's version is unions within unions.
#[repr(C)]
struct Lookup {
    family: u8,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// 0: the path MTU is not asked for.
    total_length: u16,
    /// Interface the packet came in by; after the lookup, the one it leaves by.
    interface: u32,
    /// Type of service or flow information.
    traffic_class: u32,
    source: [u64; 2],
    destination: [u64; 2],
    vlan: u32,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
}

const _: () = assert!(size_of::<Lookup>() == 64);

/// What the answer means for the packet.
enum Route {
    /// For the box itself, or for everybody on the link.
    Local,
    Forwarded,
    None,
}

impl Route {
    /// The helper's status: `BPF_FIB_LKUP_RET_*`, or a negative error.
    #[inline(always)]
    const fn from_status(status: i64) -> Self {
        const SUCCESS: i64 = 0;
        const NOT_FORWARDED: i64 = 4;
        const NO_NEIGHBOUR: i64 = 7;
        const FRAGMENTATION_NEEDED: i64 = 8;
        match status {
            NOT_FORWARDED => Self::Local,
            // The way is known; that the neighbour must still be asked for is the stack's business.
            SUCCESS | NO_NEIGHBOUR | FRAGMENTATION_NEEDED => Self::Forwarded,
            _ => Self::None,
        }
    }
}

impl Lookup {
    #[inline(always)]
    fn new(descriptor: &Descriptor, interface: u32) -> Self {
        let v4 = descriptor.v4;
        Self {
            family: if v4 { AF_INET } else { AF_INET6 },
            protocol: descriptor.key.protocol,
            source_port: descriptor.source_port().to_be(),
            destination_port: descriptor.destination_port().to_be(),
            total_length: 0,
            interface,
            traffic_class: 0,
            source: field(descriptor.source(), v4),
            destination: field(descriptor.destination(), v4),
            vlan: 0,
            source_mac: [0; 6],
            destination_mac: [0; 6],
        }
    }
}

/// An address as the structure wants it, in words: an IPv4 address lies in the first four bytes.
#[inline(always)]
fn field(address: &Address, v4: bool) -> [u64; 2] {
    if !v4 {
        return address.words();
    }
    let [a, b, c, d] = address.v4_bits().to_be_bytes();
    [u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0]
}
