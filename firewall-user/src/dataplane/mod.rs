//! The kernel side as the controller sees it: one loaded object, its pins, and the interfaces it is attached to. The only place that
//! knows aya.
//!
//! Everything lives on in the pins when this goes away. What is started and not [committed](Dataplane::commit) is undone on drop.

mod attach;
mod bpf;
mod config;
mod counters;
mod error;
mod events;
mod evidence;
mod flows;
mod host;
mod limits;
mod load;
mod maps;
mod messages;
mod netlink;
mod pin;
mod probe;
mod route;
mod slots;
mod teardown;

use std::{collections::BTreeMap, fs, sync::Arc};

use aya::Ebpf;
use firewall_common::{
    abi::program,
    config::{FULL_SCALE, Interface, MAX_INTERFACES, interface_flags},
    flow::LAYOUT_VERSION,
};

pub use attach::Egress;
pub use config::ConfigBlock;
pub use error::DataplaneError;
pub use events::{EventReader, EventRing};
pub use flows::{Table, TableName};
pub use host::check_privileges;
pub use limits::LimitBlock;
pub use load::Sizes;
pub use maps::Maps;
pub use messages::Messages;
pub use pin::Pins;
pub use probe::{Fate, Known, Probe, Ran};
pub use route::{Router, Way, interface_names, way};
pub use slots::Slots;
pub use teardown::{detach_all, detach_one};

use crate::{
    api::{Mode, ModeRequest},
    instance::Instance,
};
use load::Found;

/// How a dataplane is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub sizes: Sizes,
    /// Start with empty tables where the pinned ones cannot be used.
    pub discard_flows: bool,
    /// Meet egress through clsact even where TCX exists.
    pub legacy_egress: bool,
}

/// An interface the programs are attached to.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub name: String,
    pub index: u32,
    pub zone: u8,
    /// Place of its counters plus one.
    pub place: u8,
    pub mode: Mode,
    pub fell_back: bool,
    pub egress: Egress,
    pub adopted: bool,
}

/// The loaded object and what it is attached to.
#[derive(Debug)]
pub struct Dataplane {
    pins: Pins,
    ebpf: Ebpf,
    maps: Arc<Maps>,
    events: Option<EventRing>,
    found: Found,
    egress: Egress,
    attachments: BTreeMap<String, Attachment>,
    last_place: u8,
    committed: bool,
}

impl Dataplane {
    /// Loads the object, against the pinned maps where there are any. Nothing is attached, and packets notice nothing.
    pub fn open(instance: &Instance, options: &Options) -> Result<Self, DataplaneError> {
        host::check()?;
        let pins = Pins::of(instance);
        let found = load::verify(&pins, options.discard_flows)?;
        if found == Found::Discarded {
            load::put_aside(&pins)?;
        }
        let opened = pins.create().and_then(|()| load::load(&pins, options.sizes)).and_then(|mut ebpf| {
            let maps = Maps::take(&mut ebpf)?;
            let events = EventRing::take(&mut ebpf)?;
            Ok((ebpf, maps, events))
        });
        let (ebpf, maps, events) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                undo(&pins, found);
                return Err(error);
            }
        };
        if maps.config.layout() == 0 {
            maps.config.set_timeout_scale(FULL_SCALE);
            maps.config.set_layout(LAYOUT_VERSION);
        }
        maps.config.ensure_secret()?;
        let egress = if host::has_tcx() && !options.legacy_egress { Egress::Tcx } else { Egress::Clsact };
        let (maps, attachments) = (Arc::new(maps), BTreeMap::new());
        Ok(Self { pins, ebpf, maps, events: Some(events), found, egress, attachments, last_place: 0, committed: false })
    }

    #[must_use]
    pub fn maps(&self) -> &Arc<Maps> {
        &self.maps
    }

    /// True when the maps of an earlier controller are in use.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.found == Found::Ours
    }

    /// Interfaces an earlier controller attached and that are still there, with their zone as far as it is known.
    pub fn left_behind(&self) -> Result<Vec<(String, Option<String>)>, DataplaneError> {
        let zones = if self.found == Found::Discarded { load::old_zone_names(&self.pins) } else { self.maps.zone_names()? };
        let mut left = Vec::new();
        for pinned in self.pins.linked_interfaces()? {
            let index = attach::linked_index(&self.pins, &pinned)?;
            if let Some(name) = netlink::name_of(index)? {
                let zone = usize::from(self.old_interface(index)?.zone);
                left.push((name, zones.get(zone).cloned().flatten()));
            }
        }
        Ok(left)
    }

    /// What the maps in use say of an interface; those put aside have the last word while they are there.
    fn old_interface(&self, index: u32) -> Result<Interface, DataplaneError> {
        if self.found == Found::Discarded {
            return Ok(load::old_interface(&self.pins, index).unwrap_or_default());
        }
        self.maps.interface(index)
    }

    /// Interfaces attached now.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values()
    }

    #[must_use]
    pub fn attachment(&self, name: &str) -> Option<&Attachment> {
        self.attachments.get(name)
    }

    /// Whether `name` could be attached; changes nothing.
    pub fn check_interface(&self, name: &str) -> Result<(), DataplaneError> {
        if self.attachments.contains_key(name) {
            return Err(DataplaneError::AlreadyAttached(name.to_owned()));
        }
        let device = netlink::device(name)?;
        let linked = self.pins.linked_interfaces()?;
        let ours = linked.iter().any(|linked| attach::linked_index(&self.pins, linked).is_ok_and(|index| index == device.index));
        if ours { Ok(()) } else { attach::check(&device) }
    }

    /// Takes over the interfaces an earlier controller attached: the loaded programs replace theirs, between two packets.
    pub fn adopt(&mut self, zone_of: impl Fn(&str) -> Option<u8>) -> Result<usize, DataplaneError> {
        for pinned in self.pins.linked_interfaces()? {
            let index = attach::linked_index(&self.pins, &pinned)?;
            let Some(name) = netlink::name_of(index)? else {
                log::warn!("{pinned} is gone: its links are removed");
                attach::detach(&self.pins, &pinned)?;
                continue;
            };
            if name != pinned {
                log::info!("{pinned} is called {name} now");
                self.pins.rename_links(&pinned, &name)?;
            }
            let device = netlink::device(&name)?;
            let known = self.old_interface(index)?;
            let zone = zone_of(&name).unwrap_or(known.zone);
            let place = if self.found == Found::Discarded || known.place == 0 { self.free_place()? } else { known.place };
            let mode = device.xdp.map_or(Mode::Generic, |running| running.mode);
            self.maps.set_interface(index, interface(zone, place, &device, mode))?;
            let egress = attach::replace(&mut self.ebpf, &self.pins, &device)?;
            let attachment = Attachment { name: name.clone(), index, zone, place, mode, fell_back: false, egress, adopted: true };
            self.attachments.insert(name, attachment);
        }
        Ok(self.attachments.len())
    }

    /// Attaches both programs to an interface. On failure it is as before.
    pub fn attach(&mut self, name: &str, zone: u8, request: ModeRequest) -> Result<&Attachment, DataplaneError> {
        if self.attachments.get(name).is_some_and(|attached| netlink::name_of(attached.index).is_ok_and(|found| found.is_none())) {
            // The device went away and another took its name.
            self.detach(name)?;
        }
        self.check_interface(name)?;
        let device = netlink::device(name)?;
        let place = self.free_place()?;
        self.maps.retire_counters(place)?;
        // The mode is known only afterwards; until then nothing legal may be dropped.
        self.maps.set_interface(device.index, interface(zone, place, &device, Mode::Generic))?;
        let ingress = match attach::attach(&mut self.ebpf, &self.pins, &device, request, self.egress) {
            Ok(ingress) => ingress,
            Err(error) => {
                self.maps.set_interface(device.index, Interface::default())?;
                return Err(error);
            }
        };
        self.maps.set_interface(device.index, interface(zone, place, &device, ingress.mode))?;
        let attachment = Attachment {
            name: name.to_owned(),
            index: device.index,
            zone,
            place,
            mode: ingress.mode,
            fell_back: ingress.fell_back,
            egress: self.egress,
            adopted: false,
        };
        self.last_place = place;
        let slot = self.attachments.entry(name.to_owned());
        Ok(slot.or_insert(attachment))
    }

    /// Places go round, so that flows which still name an interface of before are not soon shown under another's name.
    fn free_place(&self) -> Result<u8, DataplaneError> {
        let count = MAX_INTERFACES as u8;
        let after = (0..count).map(|step| (self.last_place + step) % count + 1);
        let taken = |place: &u8| self.attachments.values().any(|attached| attached.place == *place);
        after.into_iter().find(|place| !taken(place)).ok_or(DataplaneError::TooManyInterfaces)
    }

    /// Takes the programs off an interface.
    pub fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        let attached = self.attachments.get(name).ok_or_else(|| DataplaneError::NotAttached(name.to_owned()))?;
        attach::detach(&self.pins, name)?;
        // An index of a device that is gone may have been given to another, which is not ours to clear then.
        if !self.attachments.values().any(|other| other.index == attached.index && other.name != name) {
            self.maps.set_interface(attached.index, Interface::default())?;
        }
        self.attachments.remove(name);
        Ok(())
    }

    /// Whether the device behind an attachment is still there.
    #[must_use]
    pub fn is_present(&self, attachment: &Attachment) -> bool {
        attach::linked_index(&self.pins, &attachment.name).is_ok_and(|index| index == attachment.index)
    }

    /// The dataplane's log messages; `None` for an object that sends none.
    pub fn messages(&mut self) -> Option<Messages> {
        Messages::open(&mut self.ebpf)
    }

    /// The dataplane's events; `None` the second time.
    pub fn events(&mut self) -> Option<EventRing> {
        self.events.take()
    }

    /// The start succeeded: from here on everything stays until it is detached.
    pub fn commit(&mut self) -> Result<(), DataplaneError> {
        for name in [program::INGRESS, program::EGRESS] {
            let program = self.ebpf.program_mut(name).ok_or(DataplaneError::ProgramMissing { name })?;
            let (pin, fresh) = (self.pins.programs().join(name), self.pins.programs().join(format!("{name}:new")));
            if fresh.exists() {
                fs::remove_file(&fresh).map_err(DataplaneError::file("cannot remove", &fresh))?;
            }
            program.pin(&fresh).map_err(|error| DataplaneError::file("cannot pin the program", &fresh)(std::io::Error::other(error)))?;
            fs::rename(&fresh, &pin).map_err(DataplaneError::file("cannot rename", &fresh))?;
        }
        self.committed = true;
        if self.found == Found::Discarded {
            pin::remove_directory(&self.pins.old_maps())?;
        }
        Ok(())
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let fresh: Vec<String> = self.attachments().filter(|attached| !attached.adopted).map(|attached| attached.name.clone()).collect();
        for name in fresh {
            if let Err(error) = self.detach(&name) {
                log::error!("{name} could not be detached again: {error}");
            }
        }
        // Once adopted links run the new programs, the new maps are the ones in use.
        let replaced = self.attachments().any(|attached| attached.adopted);
        if !replaced {
            undo(&self.pins, self.found);
        }
    }
}

/// What the dataplane is told of an interface.
///
/// A software device hands over what a local stack has sent, checksum unfinished. A driver without XDP of its own may do so too, with what
/// comes from a virtual machine beside this one.
fn interface(zone: u8, place: u8, device: &netlink::Device, mode: Mode) -> Interface {
    let unfinished = device.software || mode == Mode::Generic;
    Interface { zone, place, flags: if unfinished { interface_flags::UNFINISHED_CHECKSUMS } else { 0 }, reserved: 0 }
}

/// Leaves the pin directory as it was found.
fn undo(pins: &Pins, found: Found) {
    let undone = match found {
        Found::Nothing => pins.remove(),
        Found::Discarded => load::put_back(pins),
        Found::Ours => Ok(()),
    };
    if let Err(error) = undone {
        log::error!("cleaning up after the failed start: {error}");
    }
}
