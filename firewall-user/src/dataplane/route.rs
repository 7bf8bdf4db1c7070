//! Where the kernel would send a packet to an address: by which interface, or to the box itself.

use std::{collections::HashMap, io, net::IpAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{DataplaneError, netlink};

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The box has it.
    Here,
    /// Behind the interface with this index.
    Behind(u32),
    /// Nowhere.
    Nowhere,
}

/// Asks the kernel for the way to `address`, in the network namespace of this thread.
pub fn way(address: IpAddr) -> Result<Way, DataplaneError> {
    Router::open()?.way(address)
}

/// Names of the system's interfaces by index, in the network namespace of this thread.
pub fn interface_names() -> Result<HashMap<u32, String>, DataplaneError> {
    Ok(netlink::devices()?.into_iter().map(|device| (device.index, device.name)).collect())
}

/// Who knows the ways, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Router(Socket);

impl Router {
    pub fn open() -> Result<Self, DataplaneError> {
        connect().map(Self).map_err(failed)
    }

    /// The way to `address`, as a packet of the box itself would take it: rules that look at marks or interfaces do not count.
    pub fn way(&mut self, address: IpAddr) -> Result<Way, DataplaneError> {
        ask(&mut self.0, address).map_err(failed)
    }
}

const fn failed(source: io::Error) -> DataplaneError {
    DataplaneError::System { what: "asking for a route", source }
}

fn connect() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn ask(socket: &mut Socket, address: IpAddr) -> io::Result<Way> {
    let mut route = RouteMessage::default();
    (route.header.address_family, route.header.destination_prefix_length) =
        if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    route.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route)));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram).map_err(io::Error::other)?;
    Ok(match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => read(&route),
        // Unreachable, prohibited, or no route at all.
        NetlinkPayload::Error(_) => Way::Nowhere,
        _ => return Err(io::Error::other("the kernel's answer is none")),
    })
}

fn read(route: &RouteMessage) -> Way {
    if route.header.kind == RouteType::Local {
        return Way::Here;
    }
    let behind = route.attributes.iter().find_map(|attribute| if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None });
    behind.map_or(Way::Nowhere, Way::Behind)
}
