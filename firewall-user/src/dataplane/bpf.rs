//! The bpf(2) calls aya does not make: batched reads, the device behind a pinned link, and taking a link off it. The only raw system calls of the crate.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_DETACH: libc::c_int = 34;
/// Copy a value under its lock.
const BPF_F_LOCK: u64 = 4;
/// Entries read by one call: a few hundred kilobytes, and a bounded time in the kernel.
const BATCH: u32 = 1024;
/// Most entries one call may have to return: a whole bucket of the hash table.
const LARGEST_BATCH: u32 = 1 << 20;

/// `bpf_attr` of the batch commands.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct ObjectAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct InfoAttributes {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct DetachAttributes {
    link_fd: u32,
}

/// The beginning of `bpf_link_info`, as XDP and TCX links fill it.
#[derive(Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    interface_index: u32,
    rest: [u32; 11],
}

/// Calls bpf(2) with `attributes`.
///
/// # Safety
/// Every address in `attributes` must point to memory of the size and mutability the command needs.
unsafe fn bpf<T: IntoBytes + Immutable>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are valid for their size; what they point to is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}

/// Reads every entry of a hash table or array, [`BATCH`] at a time, and hands it to `visit`.
///
/// With `lock`, each value is copied under its lock. Entries that come or go during the read may or may not be seen.
///
/// # Errors
/// The kernel's word; entries visited before it stay visited.
pub(super) fn read_table<K, V>(map: BorrowedFd<'_>, lock: bool, mut visit: impl FnMut(K, V)) -> io::Result<()>
where
    K: FromBytes + Copy,
    V: FromBytes + Copy,
{
    let mut room = BATCH;
    let (mut keys, mut values) = (vec![K::new_zeroed(); room as usize], vec![V::new_zeroed(); room as usize]);
    let (mut position, mut next) = (0u32, 0u32);
    let mut first = true;
    loop {
        let mut attributes = BatchAttributes {
            in_batch: if first { 0 } else { (&raw const position).addr() as u64 },
            out_batch: (&raw mut next).addr() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: room,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: if lock { BPF_F_LOCK } else { 0 },
            flags: 0,
        };
        // SAFETY: `keys` and `values` hold `room` elements of the map's sizes (the typed handles checked them), and the position
        // in a hash table or array is a u32.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes) };
        let last = match result {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::EINTR | libc::EAGAIN) => continue,
                // One bucket holds more than there is room for.
                Some(libc::ENOSPC) if room < LARGEST_BATCH => {
                    room *= 4;
                    keys = vec![K::new_zeroed(); room as usize];
                    values = vec![V::new_zeroed(); room as usize];
                    continue;
                }
                _ => return Err(error),
            },
        };
        let count = attributes.count.min(room) as usize;
        for (key, value) in keys.iter().zip(&values).take(count) {
            visit(*key, *value);
        }
        if last {
            return Ok(());
        }
        position = next;
        first = false;
    }
}

/// Opens a pinned link.
fn open_link(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut object = ObjectAttributes { pathname: path.as_ptr().addr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    let descriptor = unsafe { bpf(BPF_OBJ_GET, &mut object) }?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes a pinned link's program off its interface, at once: without its pin the kernel would do so too, but some time later.
pub(super) fn detach_link(pin: &Path) -> io::Result<()> {
    let link = open_link(pin)?;
    // SAFETY: the command takes the descriptor and nothing else.
    unsafe { bpf(BPF_LINK_DETACH, &mut DetachAttributes { link_fd: link.as_raw_fd().cast_unsigned() }) }.map(drop)
}

/// Index of the interface a pinned link is attached to; 0 when the device is gone.
pub(super) fn link_interface(pin: &Path) -> io::Result<u32> {
    let link = open_link(pin)?;
    let mut info = LinkInfo::default();
    let mut attributes = InfoAttributes {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).addr() as u64,
    };
    // SAFETY: `info` has `info_len` bytes and outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info.interface_index)
}
