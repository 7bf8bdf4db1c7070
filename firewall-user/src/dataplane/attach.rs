//! Attaching the two programs to an interface, replacing them without a gap, and taking them off again.
//!
//! Both hooks are kernel links with a pin, so they outlive the controller. On kernels before 6.6 the egress hook is a clsact filter
//! instead, which needs no pin: it stays until it is removed.

use std::io;

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
        xdp::XdpLink,
    },
};
use firewall_common::{abi::program, config::MAX_INTERFACE_INDEX};

use super::{
    DataplaneError,
    bpf::link_interface,
    netlink::{self, Device},
    pin::{Hook, Pins},
};
use crate::api::{Mode, ModeRequest};

/// Place of the clsact filter: fixed, so that a later controller finds it again. Early among filters, and no number `tc` gives by itself.
const FILTER_PRIORITY: u16 = 41;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 1);

/// How packets the box itself sends are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    Tcx,
    Clsact,
}

impl Egress {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// How the ingress program ended up on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ingress {
    pub(super) mode: Mode,
    pub(super) fell_back: bool,
}

/// Whether `device` can be attached at all; changes nothing.
pub(super) fn check(device: &Device) -> Result<(), DataplaneError> {
    if device.index >= MAX_INTERFACE_INDEX {
        return Err(DataplaneError::InterfaceIndex { name: device.name.clone(), index: device.index });
    }
    match device.xdp {
        Some(running) => Err(DataplaneError::OtherProgram { name: device.name.clone(), id: running.id }),
        None => Ok(()),
    }
}

/// Attaches both programs to `device` and pins the links. On failure neither is left.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    device: &Device,
    request: ModeRequest,
    egress: Egress,
) -> Result<Ingress, DataplaneError> {
    attach_egress(ebpf, pins, device, egress)?;
    let attached = attach_ingress(ebpf, pins, device, request);
    attached.inspect_err(|_| {
        if let Err(error) = detach_egress(pins, &device.name) {
            log::warn!("{}: the egress program could not be taken off again: {error}", device.name);
        }
    })
}

fn attach_ingress(ebpf: &mut Ebpf, pins: &Pins, device: &Device, request: ModeRequest) -> Result<Ingress, DataplaneError> {
    let program = ingress(ebpf)?;
    let failed = |error| attach_failed(device, program::INGRESS, error);
    let (link, fell_back) = match request {
        ModeRequest::Native => (link_ingress(program, device.index, XdpMode::Driver).map_err(failed)?, false),
        ModeRequest::Generic => (link_ingress(program, device.index, XdpMode::Skb).map_err(failed)?, false),
        ModeRequest::Auto => match link_ingress(program, device.index, XdpMode::Driver) {
            Ok(link) => (link, false),
            // Only what a driver says about itself is a reason to fall back.
            Err(error) if driver_refuses(&error) => {
                let link = link_ingress(program, device.index, XdpMode::Skb).map_err(failed)?;
                log::warn!("{}: the driver cannot run XDP ({error}); running in generic mode, which is slower", device.name);
                (link, true)
            }
            Err(error) => return Err(failed(error)),
        },
    };
    let pin = pins.link(&device.name, Hook::Ingress);
    link.pin(&pin).map_err(|error| DataplaneError::File { what: "cannot pin the link", path: pin, source: io::Error::other(error) })?;
    let mode = running_mode(&device.name)?.unwrap_or(Mode::Generic);
    Ok(Ingress { mode, fell_back })
}

fn link_ingress(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = program.attach_to_if_index(index, mode)?;
    // A netlink attachment cannot be pinned; the conversion refuses it and takes it off.
    FdLink::try_from(program.take_link(id)?).map_err(|error| ProgramError::IOError(io::Error::other(error)))
}

/// The kernel's number for a refusal, wherever in the chain of causes it is.
fn errno(error: &ProgramError) -> Option<i32> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = error.source();
    }
    None
}

fn driver_refuses(error: &ProgramError) -> bool {
    !matches!(errno(error), Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV | libc::ENOMEM))
}

fn attach_failed(device: &Device, step: &str, error: ProgramError) -> DataplaneError {
    if matches!(errno(&error), Some(libc::EBUSY | libc::EEXIST)) {
        let id = netlink::device(&device.name).ok().and_then(|device| device.xdp).map_or(0, |running| running.id);
        return DataplaneError::OtherProgram { name: device.name.clone(), id };
    }
    DataplaneError::Program { name: format!("{step} of {}", device.name), step: "attached", source: error }
}

fn attach_egress(ebpf: &mut Ebpf, pins: &Pins, device: &Device, egress: Egress) -> Result<(), DataplaneError> {
    let program = self::egress(ebpf)?;
    let failed = |source| DataplaneError::Program { name: format!("egress of {}", device.name), step: "attached", source };
    match egress {
        Egress::Tcx => {
            let options = TcAttachOptions::TcxOrder(LinkOrder::default());
            let id = program.attach_with_options(&device.name, TcAttachType::Egress, options).map_err(failed)?;
            let link = FdLink::try_from(program.take_link(id).map_err(failed)?)
                .map_err(|error| failed(ProgramError::IOError(io::Error::other(error))))?;
            let pin = pins.link(&device.name, Hook::Egress);
            link.pin(&pin).map_err(|error| DataplaneError::File {
                what: "cannot pin the link",
                path: pin,
                source: io::Error::other(error),
            })?;
        }
        Egress::Clsact => {
            // Refused when the qdisc is there already, which is as good; what else is wrong the attachment will say.
            let _ = tc::qdisc_add_clsact(&device.name);
            let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
            let id = program.attach_with_options(&device.name, TcAttachType::Egress, TcAttachOptions::Netlink(options)).map_err(failed)?;
            keep(program.take_link(id).map_err(failed)?);
        }
    }
    Ok(())
}

/// Lets a clsact filter outlive the handle, which would remove it.
fn keep(link: SchedClassifierLink) {
    std::mem::forget(link);
}

/// Puts the loaded programs in the place of those an earlier controller attached. Each hook changes over between two packets.
pub(super) fn replace(ebpf: &mut Ebpf, pins: &Pins, device: &Device) -> Result<Egress, DataplaneError> {
    let name = &device.name;
    let failed = |source| DataplaneError::Program { name: format!("programs of {name}"), step: "replaced", source };
    let foreign = |error: aya::programs::links::LinkError| failed(ProgramError::IOError(io::Error::other(error)));

    let pin = pins.link(name, Hook::Ingress);
    let link = FdLink::from(PinnedLink::from_pin(&pin).map_err(foreign)?);
    let link = XdpLink::try_from(link).map_err(foreign)?;
    let program = ingress(ebpf)?;
    let id = program.attach_to_link(link).map_err(failed)?;
    // The pin holds the link; the handle may go.
    drop(program.take_link(id).map_err(failed)?);

    let pin = pins.link(name, Hook::Egress);
    let program = egress(ebpf)?;
    if pin.exists() {
        let link = FdLink::from(PinnedLink::from_pin(&pin).map_err(foreign)?);
        let link = SchedClassifierLink::try_from(link).map_err(foreign)?;
        let id = program.attach_to_link(link).map_err(failed)?;
        drop(program.take_link(id).map_err(failed)?);
        return Ok(Egress::Tcx);
    }
    let link = SchedClassifierLink::attached(name, TcAttachType::Egress, FILTER_PRIORITY, FILTER_HANDLE, None)
        .map_err(|error| failed(ProgramError::IOError(error)))?;
    let id = program.attach_to_link(link).map_err(failed)?;
    keep(program.take_link(id).map_err(failed)?);
    Ok(Egress::Clsact)
}

/// Takes both programs off an interface, ingress first. Works without a loaded object; a device that is gone is no error.
pub(super) fn detach(pins: &Pins, name: &str) -> Result<(), DataplaneError> {
    pins.remove_link(name, Hook::Ingress)?;
    detach_egress(pins, name)
}

fn detach_egress(pins: &Pins, name: &str) -> Result<(), DataplaneError> {
    if pins.link(name, Hook::Egress).exists() {
        return pins.remove_link(name, Hook::Egress);
    }
    match SchedClassifierLink::attached(name, TcAttachType::Egress, FILTER_PRIORITY, FILTER_HANDLE, None) {
        // Dropping the handle removes the filter; where there is none, the kernel says so and nothing is lost.
        Ok(link) => drop(link),
        Err(error) => log::debug!("{name}: no egress filter to remove: {error}"),
    }
    Ok(())
}

/// Index of the interface an ingress pin is attached to; 0 when the device is gone.
pub(super) fn linked_index(pins: &Pins, name: &str) -> Result<u32, DataplaneError> {
    let pin = pins.link(name, Hook::Ingress);
    link_interface(&pin).map_err(DataplaneError::file("cannot open the link", pin))
}

/// The mode the interface's XDP program really runs in.
pub(super) fn running_mode(name: &str) -> Result<Option<Mode>, DataplaneError> {
    Ok(netlink::device(name)?.xdp.map(|running| running.mode))
}

fn ingress(ebpf: &mut Ebpf) -> Result<&mut Xdp, DataplaneError> {
    let program = ebpf.program_mut(program::INGRESS).ok_or(DataplaneError::ProgramMissing { name: program::INGRESS })?;
    program.try_into().map_err(DataplaneError::program(program::INGRESS, "used"))
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    let program = ebpf.program_mut(program::EGRESS).ok_or(DataplaneError::ProgramMissing { name: program::EGRESS })?;
    program.try_into().map_err(DataplaneError::program(program::EGRESS, "used"))
}
