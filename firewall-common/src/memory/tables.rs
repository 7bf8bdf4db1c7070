//! A policy in its lowered form, as the controller writes it into the maps, and small ones made by hand.

use crate::{
    application::Applications,
    flow::{Address, Inspection},
    hours::Week,
    limit::Limits,
    normalize::{Profile, checks},
    rule::{Action, Block, Dimension, FIXED_ROWS, MAX_ZONES, Row, Rule, Timeouts, rule_flags},
    wire::protocol,
};

/// What a slot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub entries: Vec<Rule>,
    /// Normalizer profiles by number.
    pub profiles: Vec<Profile>,
    /// Hours by number, from 0.
    pub schedules: Vec<Week>,
    /// What is recognised.
    pub applications: Applications,
    /// Blocks by number.
    pub blocks: Vec<Block>,
    /// Rows by number: the fixed ones first.
    pub rows: Vec<Row>,
    /// Dimension, address, length of the prefix in bits (of 128), row.
    pub addresses: Vec<(Dimension, Address, u8, u32)>,
    /// Protocol, port, length of the prefix in bits (of 24, the protocol's eight first), row.
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
        // The first entry alone, in every fixed row.
        let (mut first, mut row) = (Block::EMPTY, Row::EMPTY);
        first.0[0] = 1;
        row.summary[0] = 1;
        Self { entries: vec![rule], blocks: vec![first], rows: vec![row; FIXED_ROWS], ..Self::default() }
    }

    /// Allows everything that zone 1 begins, and nothing else.
    #[must_use]
    pub fn from_zone_1(inspection: Inspection) -> Self {
        let mut tables = Self::everything(Action::Allow, inspection);
        for zone in (0..MAX_ZONES as u8).filter(|zone| *zone != 1) {
            tables.rows[Dimension::FromZone.fixed_row(zone) as usize] = Row::EMPTY;
        }
        tables
    }

    /// The same tables, but no entry accepts ICMP of either family.
    #[must_use]
    pub fn without_icmp(mut self) -> Self {
        let nobodys = u32::try_from(self.rows.len()).expect("few rows");
        self.services.extend([protocol::ICMP, protocol::ICMPV6].map(|protocol| (protocol, [0; 2], 8, nobodys)));
        self.rows.push(Row::EMPTY);
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

    /// The same tables with guards in every entry: bits of [`rule_flags`].
    #[must_use]
    pub fn guarded(mut self, guards: u8) -> Self {
        self.entries.iter_mut().for_each(|rule| rule.flags |= guards);
        self
    }

    /// The same tables with these limits in every entry.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        for rule in &mut self.entries {
            rule.limits = limits;
            rule.flags |= rule_flags::LIMITED | rule_flags::OVERLOAD;
        }
        self
    }

    /// The same tables, every entry logged.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.entries.iter_mut().for_each(|rule| rule.flags |= rule_flags::LOGGED);
        self
    }

    /// The same tables with these hours for every entry.
    #[must_use]
    pub fn with_hours(mut self, week: Week) -> Self {
        self.schedules = vec![week];
        self.entries.iter_mut().for_each(|rule| rule.schedule = 1);
        self
    }

    /// The same tables with `sanity = "off"` in every entry.
    #[must_use]
    pub fn without_sanity(mut self) -> Self {
        self.entries.iter_mut().for_each(|rule| rule.flags |= rule_flags::SANITY_OFF);
        self
    }
}
