//! A peer that takes what an XDP program sends back.
//!
//! A veth end wakes up for frames answered with `XDP_TX` only while it carries an XDP program itself (the kernel's `veth_xdp_flush`);
//! without one they lie in its queue until something else comes. Real cards have no such condition.

use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::{frame::interface_index, network::inside};
use crate::netns::Namespace;

/// `BPF_PROG_LOAD` and `BPF_LINK_CREATE` of bpf(2), and what they are told here.
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const FLAGS_NATIVE: u32 = 1 << 2;
const LICENSE: &[u8; 4] = b"GPL\0";
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The head of bpf(2)'s attributes for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The head of bpf(2)'s attributes for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// An interface with an XDP program that passes everything, until dropped.
#[derive(Debug)]
pub struct Receiver {
    _link: OwnedFd,
}

impl Receiver {
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let program = bpf(
            PROG_LOAD,
            &ProgLoad {
                prog_type: PROG_TYPE_XDP,
                instruction_count: 2,
                instructions: PASS.as_ptr() as u64,
                license: LICENSE.as_ptr() as u64,
            },
        )
        .context("cannot load a program that passes everything")?;
        inside(namespace, || {
            let interface = u32::try_from(interface_index(interface)?).context("no interface number")?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&program);
            let program = u32::try_from(number).context("no descriptor")?;
            let link = bpf(LINK_CREATE, &LinkCreate { program, interface, attach_type: ATTACH_XDP, flags: FLAGS_NATIVE });
            Ok(Self { _link: link.context("cannot attach a program that passes everything")? })
        })
    }
}

/// A bpf(2) command that returns a descriptor.
fn bpf<T>(command: libc::c_int, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes are a whole structure of integers of the size that is told; what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let number = i32::try_from(result).ok().filter(|number| *number >= 0).ok_or_else(std::io::Error::last_os_error)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
