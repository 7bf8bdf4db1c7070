//! A policy in its lowered form, as the controller writes it into the maps, and small ones made by hand.

use crate::{
    flow::{Address, Inspection},
    normalize::{Profile, checks},
    rule::{Action, Bitmap, Dimension, MAX_ZONES, Rule, Timeouts, rule_flags},
    wire::protocol,
};

/// What a slot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub entries: Vec<Rule>,
    /// Normalizer profiles by number.
    pub profiles: Vec<Profile>,
    /// Dimension, class, entries that accept it.
    pub bitmaps: Vec<(Dimension, u32, Bitmap)>,
    /// Dimension, address, length of the prefix in bits (of 128), class.
    pub addresses: Vec<(Dimension, Address, u8, u32)>,
    /// Protocol, port, length of the prefix in bits (of 24, the protocol's eight first), class.
    pub services: Vec<(u8, [u8; 2], u8, u32)>,
}

/// Number of the one rule of the policies made here.
pub const THE_RULE: u16 = 1;

impl Tables {
    /// One rule for everything, from any zone to any zone.
    #[must_use]
    pub fn everything(action: Action, inspection: Inspection) -> Self {
        let rule = Rule {
            number: THE_RULE,
            action: action as u8,
            inspection: inspection as u8,
            one_sided_quota: 10_000,
            timeouts: Timeouts::DEFAULT,
            ..Rule::default()
        };
        Self::single(rule)
    }

    /// As [`Tables::everything`], with `rule` as it is.
    #[must_use]
    pub fn single(rule: Rule) -> Self {
        let mut first = Bitmap::EMPTY;
        first.set(0);
        let zones =
            [Dimension::FromZone, Dimension::ToZone].into_iter().flat_map(|side| (0..MAX_ZONES as u32).map(move |zone| (side, zone)));
        let others = [Dimension::Source, Dimension::Destination, Dimension::Service].map(|dimension| (dimension, 0));
        Self { entries: vec![rule], bitmaps: zones.chain(others).map(|(side, class)| (side, class, first)).collect(), ..Self::default() }
    }

    /// Allows everything that zone 1 begins, and nothing else.
    #[must_use]
    pub fn from_zone_1(inspection: Inspection) -> Self {
        let mut tables = Self::everything(Action::Allow, inspection);
        for (dimension, class, bitmap) in &mut tables.bitmaps {
            if *dimension == Dimension::FromZone && *class != 1 {
                *bitmap = Bitmap::EMPTY;
            }
        }
        tables
    }

    /// The same tables, but no entry accepts ICMP of either family.
    #[must_use]
    pub fn without_icmp(mut self) -> Self {
        const NOBODYS: u32 = 1;
        self.services.extend([protocol::ICMP, protocol::ICMPV6].map(|protocol| (protocol, [0; 2], 8, NOBODYS)));
        self.bitmaps.push((Dimension::Service, NOBODYS, Bitmap::EMPTY));
        self
    }

    /// The same tables with other idle times in every entry.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.entries.iter_mut().for_each(|rule| rule.timeouts = timeouts);
        self
    }

    /// The same tables with one more normalizer profile, which every entry has.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        if self.profiles.is_empty() {
            self.profiles.push(Profile::OFF);
        }
        let number = u8::try_from(self.profiles.len()).expect("few profiles");
        self.profiles.push(profile);
        for rule in &mut self.entries {
            let bypass = rule.inspection == Inspection::Bypass as u8;
            rule.profile = number;
            rule.checks = profile.checks & if bypass { checks::STATELESS } else { u32::MAX };
        }
        self
    }

    /// The same tables with `sanity = "off"` in every entry.
    #[must_use]
    pub fn without_sanity(mut self) -> Self {
        self.entries.iter_mut().for_each(|rule| rule.flags |= rule_flags::SANITY_OFF);
        self
    }
}
