//! Detaching without a daemon: the pins alone are enough.

use aya::maps::{Array, Map, MapData};
use firewall_common::{abi::map, config::Interface};

use super::{DataplaneError, attach, pin::Pins};

/// Takes the programs off one interface.
pub fn detach_one(pins: &Pins, name: &str) -> Result<(), DataplaneError> {
    if !pins.linked_interfaces()?.iter().any(|linked| linked == name) {
        return Err(DataplaneError::NotAttached(name.to_owned()));
    }
    let index = attach::linked_index(pins, name)?;
    attach::detach(pins, name)?;
    if let (true, Some(pinned)) = (index != 0, pins.open_map(map::INTERFACES)?) {
        let mut interfaces: Array<MapData, Interface> =
            Array::try_from(Map::Array(pinned)).map_err(DataplaneError::map(map::INTERFACES))?;
        interfaces.set(index, Interface::default(), 0).map_err(DataplaneError::map(map::INTERFACES))?;
    }
    Ok(())
}

/// Takes the programs off every interface and removes all pins: flows, counters and the policy are gone. Returns the interfaces.
pub fn detach_all(pins: &Pins) -> Result<Vec<String>, DataplaneError> {
    let linked = pins.linked_interfaces()?;
    for name in &linked {
        attach::detach(pins, name)?;
    }
    pins.remove()?;
    Ok(linked)
}
