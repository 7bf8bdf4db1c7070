//! [`Policies`] over the maps of both slots.

use core::ptr;

use aya_ebpf::maps::lpm_trie::Key;
use firewall_common::{
    classify::Policies,
    flow::Address,
    hours::{MAX_SCHEDULES, Week},
    normalize::{Profile, profile::MAX_PROFILES},
    rule::{AddressPrefix, Block, Dimension, MAX_BLOCKS, MAX_ENTRIES, MAX_ROWS, Row, Rule, ServicePrefix},
    time::Nanos,
};

use super::Kernel;
use crate::{maps, stages::Stages};

impl<C: Stages> Policies for Kernel<'_, C> {
    #[inline(always)]
    fn address_class(&self, slot: u32, dimension: Dimension, address: &Address) -> u32 {
        let key = Key::new(AddressPrefix::BITS, AddressPrefix { slot: slot as u8, dimension: dimension as u8, address: address.octets() });
        maps::ADDRESSES.get(&key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn service_class(&self, slot: u32, protocol: u8, service: [u8; 2]) -> u32 {
        let key = Key::new(ServicePrefix::BITS, ServicePrefix { slot: slot as u8, protocol, port: service });
        maps::SERVICES.get(&key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn row(&self, slot: u32, row: u32) -> Option<&Row> {
        if row >= MAX_ROWS as u32 {
            return None;
        }
        maps::ROWS.get(slot * MAX_ROWS as u32 + row)
    }

    #[inline(always)]
    fn block(&self, slot: u32, block: u16) -> Option<&Block> {
        maps::BLOCKS.get(slot * MAX_BLOCKS as u32 + u32::from(block))
    }

    #[inline(always)]
    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule> {
        if entry >= MAX_ENTRIES as u32 {
            return None;
        }
        maps::RULES.get(slot * MAX_ENTRIES as u32 + entry)
    }

    #[inline(always)]
    fn week(&self, slot: u32, schedule: u16) -> Option<&Week> {
        if usize::from(schedule) >= MAX_SCHEDULES {
            return None;
        }
        maps::SCHEDULES.get(slot * MAX_SCHEDULES as u32 + u32::from(schedule))
    }

    #[inline(always)]
    fn week_began(&self) -> Nanos {
        match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element.
            Some(config) => Nanos(unsafe { ptr::read_volatile(&raw const (*config).week_began) }),
            None => Nanos(0),
        }
    }
}

#[inline(always)]
pub(super) fn profile(slot: u32, number: u8) -> Option<&'static Profile> {
    if usize::from(number) >= MAX_PROFILES {
        return None;
    }
    maps::PROFILES.get(slot * MAX_PROFILES as u32 + u32::from(number))
}
