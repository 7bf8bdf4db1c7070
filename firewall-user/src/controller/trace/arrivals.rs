//! Where each packet of a trace meets the dataplane.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use firewall_common::{
    config::{Interface, interface_flags},
    env::Arrival,
    flow::Address,
    parse::{self, Descriptor, Kind as PacketKind},
};

use super::super::{Controller, flows::ip, held};
use crate::{
    api::{Failure, Kind, TraceRequest},
    dataplane::{Probe, Way, way},
};

/// An attached interface.
#[derive(Clone, Debug)]
struct Attached {
    name: String,
    index: u32,
    interface: Interface,
}

/// Where a packet comes in, or goes out.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) interface: String,
    pub(super) index: u32,
    pub(super) arrival: Arrival,
    /// See [`interface_flags::UNFINISHED_CHECKSUMS`].
    pub(super) software: bool,
}

/// The attached interfaces, and how one is chosen for a packet.
pub(super) struct Arrivals {
    attached: Vec<Attached>,
    /// What the request says.
    chosen: Option<usize>,
    egress: bool,
    ways: RefCell<HashMap<IpAddr, Way>>,
}

impl Arrivals {
    pub(super) fn new(controller: &Controller, request: &TraceRequest) -> Result<Self, Failure> {
        let mut attached = Vec::new();
        for one in held(&controller.dataplane).attachments() {
            attached.push(Attached { name: one.name.clone(), index: one.index, interface: controller.maps.interface(one.index)? });
        }
        let chosen = match &request.interface {
            None => None,
            Some(name) => Some(attached.iter().position(|one| one.name == *name).ok_or_else(|| not_attached(name))?),
        };
        Ok(Self { attached, chosen, egress: request.egress, ways: RefCell::default() })
    }

    /// Tells the second instance of the interfaces.
    pub(super) fn tell(&self, probe: &Probe) -> Result<(), Failure> {
        for one in &self.attached {
            probe.set_interface(one.index, one.interface)?;
        }
        Ok(())
    }

    /// Where a frame meets the dataplane.
    pub(super) fn of(&self, frame: &[u8]) -> Result<Place, Failure> {
        if let Some(chosen) = self.chosen {
            return Ok(self.place(chosen, self.egress));
        }
        let mut descriptor = Descriptor::EMPTY;
        // A header that cannot be read past its addresses has them all the same.
        let _ = parse::parse(&frame, false, &mut descriptor);
        if descriptor.ip_length == 0 || matches!(descriptor.kind, PacketKind::Link | PacketKind::LinkScope) {
            return self.anywhere();
        }
        let (source, destination) = (ip(descriptor.source()), ip(descriptor.destination()));
        if self.way(descriptor.source())? != Way::Here {
            return self.behind(source, descriptor.source(), false);
        }
        self.behind(destination, descriptor.destination(), true)
    }

    fn behind(&self, address: IpAddr, key: &Address, egress: bool) -> Result<Place, Failure> {
        let say = "say which interface with --interface";
        match self.way(key)? {
            Way::Behind(index) => match self.attached.iter().position(|one| one.index == index) {
                Some(one) => Ok(self.place(one, egress)),
                None => Err(Failure::new(Kind::NotFound, format!("the route to {address} leads to an interface that is not attached"))
                    .hint(format!("{say}; `weir status` lists those that are attached"))),
            },
            Way::Here => {
                Err(Failure::usage(format!("{address} is the box's own address, and so is the source: such packets meet no interface")))
            }
            Way::Nowhere => Err(Failure::new(Kind::NotFound, format!("there is no route to {address}")).hint(say)),
        }
    }

    fn way(&self, address: &Address) -> Result<Way, Failure> {
        let address = ip(address);
        if let Some(known) = self.ways.borrow().get(&address) {
            return Ok(*known);
        }
        let found = way(address)?;
        self.ways.borrow_mut().insert(address, found);
        Ok(found)
    }

    /// Link protocols, neighbour discovery, and what cannot be read are judged alike wherever they come from.
    fn anywhere(&self) -> Result<Place, Failure> {
        if self.attached.is_empty() { Err(Failure::new(Kind::NotFound, "no interface is attached")) } else { Ok(self.place(0, false)) }
    }

    fn place(&self, one: usize, egress: bool) -> Place {
        let Attached { name, index, interface } = &self.attached[one];
        Place {
            interface: name.clone(),
            index: *index,
            arrival: Arrival { zone: interface.zone, place: interface.place, egress },
            software: !egress && interface.flags & interface_flags::UNFINISHED_CHECKSUMS != 0,
        }
    }
}

fn not_attached(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("interface {name} is not attached")).hint("`weir status` lists the attached interfaces")
}
