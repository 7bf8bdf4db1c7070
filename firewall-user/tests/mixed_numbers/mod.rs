//! Numbers of a mixed policy's names.

use firewall_user::policy::Numbers;
use xtask::mixed::ZONES;

/// Rule `rN` has number N + 1, zones their place.
pub struct Numbering;

impl Numbers for Numbering {
    fn zone(&mut self, name: &str) -> Option<u8> {
        ZONES.iter().position(|known| *known == name).map(|place| place as u8)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        name.strip_prefix('r')?.parse().ok().map(|number: u16| number + 1)
    }
}
