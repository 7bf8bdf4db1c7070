//! The system's interfaces: names, indexes, and which XDP program each runs in which mode.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::DataplaneError;
use crate::api::Mode;

/// An interface as the kernel lists it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) xdp: Option<RunningXdp>,
    /// No hardware behind it: what comes in may be of a local stack.
    pub(super) software: bool,
}

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningXdp {
    pub(super) mode: Mode,
    pub(super) id: u32,
}

/// Every interface of the network namespace.
pub(super) fn devices() -> Result<Vec<Device>, DataplaneError> {
    dump().map_err(|source| DataplaneError::System { what: "listing the interfaces", source })
}

/// The interface called `name`, or an error that suggests the nearest name.
pub(super) fn device(name: &str) -> Result<Device, DataplaneError> {
    let devices = devices()?;
    if let Some(device) = devices.iter().find(|device| device.name == name) {
        return Ok(device.clone());
    }
    let near = devices
        .iter()
        .map(|device| (strsim::osa_distance(&device.name, name), &device.name))
        .min()
        .filter(|(distance, near)| *distance <= 2.min(near.len() / 2))
        .map(|(_, near)| near.clone());
    Err(DataplaneError::UnknownInterface { name: name.to_owned(), near })
}

/// Name of the interface at `index`; `None` when there is none (any more).
pub(super) fn name_of(index: u32) -> Result<Option<String>, DataplaneError> {
    Ok(devices()?.into_iter().find(|device| device.index == index).map(|device| device.name))
}

fn dump() -> io::Result<Vec<Device>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(LinkMessage::default())));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut devices = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(devices),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => devices.extend(read_device(&link)),
                _ => {}
            }
            match rest.get(length..) {
                Some(tail) if length > 0 => rest = tail,
                _ => break,
            }
        }
    }
}

fn read_device(link: &LinkMessage) -> Option<Device> {
    let mut name = None;
    let mut xdp = None;
    let mut software = link.header.link_layer_type == LinkLayerType::Loopback;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Xdp(details) => xdp = read_xdp(details),
            // Drivers of hardware name no kind.
            LinkAttribute::LinkInfo(details) => software |= details.iter().any(|detail| matches!(detail, LinkInfo::Kind(_))),
            _ => {}
        }
    }
    Some(Device { name: name?, index: link.header.index, xdp, software })
}

fn read_xdp(details: &[LinkXdp]) -> Option<RunningXdp> {
    let (mut mode, mut id) = (None, None);
    for detail in details {
        match detail {
            LinkXdp::Attached(XdpAttached::None) => {}
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Mode::Generic),
            LinkXdp::Attached(_) => mode = Some(Mode::Native),
            LinkXdp::ProgId(number) | LinkXdp::DrvProgId(number) | LinkXdp::SkbProgId(number) if *number != 0 => id = Some(*number),
            _ => {}
        }
    }
    Some(RunningXdp { mode: mode?, id: id.unwrap_or(0) })
}
