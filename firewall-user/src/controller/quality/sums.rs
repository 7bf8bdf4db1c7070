//! What is counted of one direction, and what it says of losses.

use std::ops::AddAssign;

use firewall_common::{
    quality::{Side, summary},
    time::Nanos,
};

use crate::api::{self, Figures};

/// What is counted of one direction. Signed, for a loss may turn out to be none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) packets: i64,
    /// Of these, packets of flows that tell of losses behind Weir.
    pub(super) answering: i64,
    pub(super) before: i64,
    pub(super) behind: i64,
    pub(super) needless: i64,
    pub(super) reordered: i64,
    pub(super) unclear: i64,
    pub(super) gaps: i64,
    pub(super) retransmitted: i64,
    pub(super) duplicate_acks: i64,
    pub(super) zero_windows: i64,
}

impl Sums {
    pub(super) fn of(side: &Side, now: Nanos) -> Self {
        let loss = summary::Loss::of(side, now);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            before: signed(loss.before),
            behind: signed(loss.behind),
            needless: signed(loss.needless),
            reordered: signed(loss.reordered),
            unclear: side.unclear.into(),
            gaps: side.gaps.into(),
            retransmitted: i64::from(side.lost) + i64::from(side.again) + i64::from(side.needless) + i64::from(side.unclear),
            duplicate_acks: side.duplicate_acks.into(),
            zero_windows: side.zero_windows.into(),
            ..Self::default()
        }
    }

    pub(super) const fn less(mut self, other: &Self) -> Self {
        self.packets -= other.packets;
        self.answering -= other.answering;
        self.before -= other.before;
        self.behind -= other.behind;
        self.needless -= other.needless;
        self.reordered -= other.reordered;
        self.unclear -= other.unclear;
        self.gaps -= other.gaps;
        self.retransmitted -= other.retransmitted;
        self.duplicate_acks -= other.duplicate_acks;
        self.zero_windows -= other.zero_windows;
        self
    }

    pub(super) fn figures(&self) -> Figures {
        let count = |signed: i64| u64::try_from(signed).unwrap_or(0);
        let loss = summary::Loss {
            before: count(self.before),
            behind: count(self.behind),
            needless: count(self.needless),
            reordered: count(self.reordered),
        };
        Figures {
            packets: count(self.packets),
            loss: told(&loss, count(self.packets), self.answering > 0, count(self.unclear)),
            gaps: count(self.gaps),
            retransmitted: count(self.retransmitted),
            duplicate_acks: count(self.duplicate_acks),
            zero_windows: count(self.zero_windows),
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        // What is taken from nothing is there.
        *self = self.less(&Self::default().less(&other));
    }
}

pub(super) fn told(loss: &summary::Loss, arrived: u64, answers: bool, unclear: u64) -> api::Loss {
    let (before, behind) = loss.shares(arrived);
    let percent = |millionths: u64| millionths as f64 / 10_000.0;
    api::Loss {
        lost: loss.place(answers).name().to_owned(),
        before: loss.before,
        before_percent: percent(before),
        behind: loss.behind,
        behind_percent: percent(behind),
        needless: loss.needless,
        reordered: loss.reordered,
        unclear,
    }
}
