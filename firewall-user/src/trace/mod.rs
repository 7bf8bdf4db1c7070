//! The packets of a trace, before the daemon sees them: described in words ([`packet`]), or read from a capture ([`capture`]).

pub mod capture;
pub mod packet;

/// Ethernet header before an IP packet, between two stations nobody has.
fn ethernet(v4: bool, vlan: Option<u16>) -> Vec<u8> {
    const STATIONS: [u8; 12] = [0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];
    const VLAN: [u8; 2] = [0x81, 0x00];
    let mut header = STATIONS.to_vec();
    if let Some(vlan) = vlan {
        header.extend(VLAN);
        header.extend(vlan.to_be_bytes());
    }
    header.extend(if v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    header
}
