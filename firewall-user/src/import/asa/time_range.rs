//! `time-range`: an absolute end becomes the end of a rule. What begins later has no word in a policy; what comes and goes has (`hours`), but
//! is not carried over.

use std::collections::HashMap;

use jiff::{Timestamp, civil, tz::TimeZone};

use super::lines::{Block, Line};

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

/// A time range of the configuration.
#[derive(Clone, Debug, Default)]
struct TimeRange<'t> {
    start: Option<civil::DateTime>,
    end: Option<civil::DateTime>,
    /// It comes and goes, or says something that cannot be read.
    other: bool,
    lines: Vec<Line<'t>>,
}

/// The time ranges there are, and the clock that their times are of.
#[derive(Debug, Default)]
pub(super) struct TimeRanges<'t> {
    ranges: HashMap<&'t str, TimeRange<'t>>,
    /// `None`: it has summer time, and an hour of each year that comes twice.
    zone: Option<TimeZone>,
    summer: bool,
    clock: Vec<Line<'t>>,
}

/// When a line of an access list is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    Until(Timestamp),
    Always,
    /// Its time is over.
    Over,
    /// Not to be said in a policy, and why.
    Unknown(&'static str),
}

impl<'t> TimeRanges<'t> {
    pub(super) fn read(&mut self, block: &Block<'t>) {
        let words = block.head.words();
        let Some(name) = words.get(1) else { return };
        let range = self.ranges.entry(name).or_default();
        range.lines.push(block.head);
        for line in &block.body {
            range.lines.push(*line);
            match line.words()[..] {
                ["absolute", ref rest @ ..] => range.other |= read_absolute(rest, &mut range.start, &mut range.end).is_none(),
                _ => range.other = true,
            }
        }
    }

    /// `clock timezone NAME HOURS [MINUTES]` and `clock summer-time …`.
    pub(super) fn read_clock(&mut self, line: &Line<'t>) {
        self.clock.push(*line);
        match line.words()[..] {
            ["clock", "timezone", _, hours, ref rest @ ..] => {
                let minutes = rest.first().map_or(Some(0), |word| word.parse::<i32>().ok());
                let seconds = hours.parse::<i32>().ok().zip(minutes).and_then(|(hours, minutes)| {
                    let minutes = if hours < 0 { -minutes } else { minutes };
                    hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)
                });
                self.zone = seconds.and_then(|seconds| jiff::tz::Offset::from_seconds(seconds).ok()).map(TimeZone::fixed);
                self.summer |= self.zone.is_none();
            }
            _ => self.summer = true,
        }
    }

    /// What says when a time range is in force.
    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = Line<'t>> {
        self.ranges.get(name).into_iter().flat_map(|range| &range.lines).chain(&self.clock).copied()
    }

    /// When a line with this time range is in force. A permit must not last longer than it did, a deny not shorter.
    pub(super) fn validity(&self, name: &str, permit: bool, now: Timestamp) -> Validity {
        let Some(range) = self.ranges.get(name) else { return Validity::Unknown("there is no such time range") };
        if range.other {
            return Validity::Unknown("it comes and goes, which is not carried over");
        }
        if self.summer {
            return Validity::Unknown("the box keeps summer time, so that the moment is not known to the hour");
        }
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let moment = |written: civil::DateTime| zone.to_timestamp(written).ok();
        if let Some(start) = range.start
            && moment(start).is_none_or(|start| start > now)
        {
            return Validity::Unknown("it has yet to begin, and a rule cannot begin later");
        }
        let Some(end) = range.end else { return Validity::Always };
        // It is not said whether the last minute counts.
        let end = if permit { Some(end) } else { end.checked_add(jiff::Span::new().minutes(1)).ok() };
        match end.and_then(moment) {
            Some(end) if end <= now => Validity::Over,
            Some(end) => Validity::Until(end),
            None => Validity::Unknown("its end cannot be read"),
        }
    }
}

/// `start HH:MM DAY MONTH YEAR end HH:MM DAY MONTH YEAR`, either of which may be missing.
fn read_absolute(words: &[&str], start: &mut Option<civil::DateTime>, end: &mut Option<civil::DateTime>) -> Option<()> {
    let mut chunks = words.chunks_exact(5);
    for chunk in chunks.by_ref() {
        let &[which, time, day, month, year] = chunk else { return None };
        let (hour, minute) = time.split_once(':')?;
        let month = month.to_ascii_lowercase();
        let month = MONTHS.iter().zip(1..).find(|(name, _)| month.len() >= 3 && name.starts_with(&month))?.1;
        let moment =
            civil::DateTime::new(year.parse().ok()?, month, day.parse().ok()?, hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
        match which {
            "start" => *start = Some(moment),
            "end" => *end = Some(moment),
            _ => return None,
        }
    }
    chunks.remainder().is_empty().then_some(())
}
