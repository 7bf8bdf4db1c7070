//! `hours` of a rule: when in the week it matches, such as `mon-fri 08:00-18:00`.

use std::fmt;

use firewall_common::hours::{MINUTES, Week};
use jiff::{Timestamp, civil, tz::TimeZone};

use super::{
    diagnostic::{Report, quoted},
    document::{Text, Value},
    lower::Clock,
};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;
const DAY: u32 = 24 * 60;
const HINT: &str = "write \"mon-fri 08:00-18:00\", \"sat,sun 10:00-24:00\" or, for every day, \"22:00-06:00\"";

/// One stretch of time, on some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Bit *n*: the *n*th day, Monday first.
    days: u8,
    /// Minutes of the day; `end` is behind the last one, and may lie on the next day.
    begin: u32,
    end: u32,
}

impl Hours {
    /// Reads one stretch.
    fn parse(text: Text<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut words = text.value.split_whitespace();
        let (first, second, more) = (words.next(), words.next(), words.next());
        let (days, times) = match (first, second, more) {
            (Some(times), None, _) if times.starts_with(|first: char| first.is_ascii_digit()) => (None, Some(times)),
            (Some(days), None, _) => (Some(days), None),
            (Some(days), Some(times), None) => (Some(days), Some(times)),
            _ => {
                report.error_with_hint(text.place, format!("{} is not days and a time", quoted(text.value)), HINT);
                return None;
            }
        };
        let days = days.map_or(Some(EVERY_DAY), |word| days_of(text, word, report))?;
        let (begin, end) = times.map_or(Some((0, DAY)), |word| times_of(text, word, report))?;
        Some(Self { days, begin, end })
    }

    fn minutes(self) -> impl Iterator<Item = u32> {
        let days = (0..7).filter(move |day| self.days >> day & 1 != 0);
        // Sunday night goes on on Monday.
        days.flat_map(move |day| (day * DAY + self.begin..day * DAY + self.end).map(|minute| minute % MINUTES))
    }
}

/// Reads a string or an array of them; `None` when something is wrong.
pub(super) fn read(value: Value<'_>, report: &mut Report<'_>) -> Option<Vec<Hours>> {
    let texts = value.strings("hours", report);
    let written = texts.len();
    let hours: Vec<Hours> = texts.into_iter().filter_map(|text| Hours::parse(text, report)).collect();
    (written > 0 && hours.len() == written).then_some(hours)
}

fn days_of(text: Text<'_>, word: &str, report: &mut Report<'_>) -> Option<u8> {
    let mut days = 0;
    for item in word.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let mut number = |name: &str| {
            let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
            if found.is_none() {
                report.unknown_word(text.part(item), format!("{} is not a day", quoted(name)), name, DAYS.into_iter());
            }
            found
        };
        let (first, last) = (number(first)?, number(last)?);
        // Over the weekend and on, when the last comes before the first.
        let count = (last + 7 - first) % 7 + 1;
        days = (0..count).fold(days, |days, step| days | 1 << ((first + step) % 7));
    }
    Some(days)
}

fn times_of(text: Text<'_>, word: &str, report: &mut Report<'_>) -> Option<(u32, u32)> {
    let at = text.part(word);
    let Some((begin, end)) = word.split_once('-') else {
        report.error_with_hint(at, format!("{} is not a beginning and an end", quoted(word)), HINT);
        return None;
    };
    let mut time = |text: &str, last: u32| {
        let read = minute_of(text).filter(|minute| *minute <= last);
        if read.is_none() {
            let hint = "write hours and minutes, such as 08:00; 24:00 is the end of a day";
            report.error_with_hint(at, format!("{} is not a time of day", quoted(text)), hint);
        }
        read
    };
    let (begin, end) = (time(begin, DAY - 1)?, time(end, DAY)?);
    if begin == end {
        let message = format!("{} is no time at all", quoted(word));
        report.error_with_hint(at, message, "the whole day is 00:00-24:00");
        return None;
    }
    Some((begin, if end < begin { end + DAY } else { end }))
}

fn minute_of(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok());
    let (hour, minute): (u32, u32) = (number(hour)??, number(minute)??);
    (minute < 60 && hour <= 24).then_some(hour * 60 + minute)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != EVERY_DAY {
            let mut rest = self.days;
            let mut separator = "";
            while rest != 0 {
                let first = rest.trailing_zeros() as usize;
                let count = (rest >> first).trailing_ones() as usize;
                let last = first + count - 1;
                match count {
                    1 => write!(f, "{separator}{}", DAYS[first])?,
                    2 => write!(f, "{separator}{},{}", DAYS[first], DAYS[last])?,
                    _ => write!(f, "{separator}{}-{}", DAYS[first], DAYS[last])?,
                }
                rest &= !(((1u16 << count) - 1) << first) as u8;
                separator = ",";
            }
            f.write_str(" ")?;
        }
        let end = if self.end > DAY { self.end - DAY } else { self.end };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.begin / 60, self.begin % 60, end / 60, end % 60)
    }
}

/// The minutes of the week that any of these stretches has.
pub(super) fn week(hours: &[Hours]) -> Week {
    let mut week = Week::NEVER;
    hours.iter().flat_map(|hours| hours.minutes()).for_each(|minute| week.add(minute));
    week
}

/// True when any of these stretches, or none where there are none to be kept to, has the moment.
#[must_use]
pub fn has(hours: &[Hours], moment: Timestamp, zone: &TimeZone) -> bool {
    hours.is_empty() || week(hours).has(since_monday(moment, zone).0 / 60)
}

/// Seconds of the local week, and the nanoseconds beside them.
fn since_monday(moment: Timestamp, zone: &TimeZone) -> (u32, u32) {
    let local: civil::DateTime = zone.to_datetime(moment);
    let day = local.weekday().to_monday_zero_offset().unsigned_abs();
    let seconds = |number: i8, each: u32| u32::from(number.unsigned_abs()) * each;
    let second = u32::from(day) * DAY * 60 + seconds(local.hour(), 3600) + seconds(local.minute(), 60) + seconds(local.second(), 1);
    (second, local.subsec_nanosecond().unsigned_abs())
}

/// Where a local week begins on the dataplane's clock, below the length of a week: see [`firewall_common::hours`].
#[must_use]
pub fn week_began(clock: &Clock, zone: &TimeZone) -> u64 {
    let (seconds, nanos) = since_monday(clock.realtime, zone);
    let elapsed = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
    let length = firewall_common::hours::WEEK_NANOS;
    (clock.monotonic_ns % length + length - elapsed) % length
}

#[cfg(test)]
mod tests {
    use firewall_common::{hours::minute, time::Nanos};

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("the machine has the zone")
    }

    fn clock(moment: &str) -> Clock {
        Clock { monotonic_ns: 5_000_000_000, realtime: moment.parse().expect("a moment") }
    }

    #[test]
    fn the_week_begins_where_the_dataplane_looks_for_it() {
        // A Thursday; the machine has been up for five seconds.
        let clock = clock("2027-01-07T12:30:10Z");
        for (zone, expected) in [(TimeZone::UTC, 12 * 60 + 30), (zone("Europe/Berlin"), 13 * 60 + 30)] {
            let began = Nanos(week_began(&clock, &zone));
            assert_eq!(minute(Nanos(clock.monotonic_ns), began), 3 * DAY + expected);
            let at = |later: u64| minute(Nanos(clock.monotonic_ns + later * 1_000_000_000), began);
            assert_eq!((at(49), at(50)), (3 * DAY + expected, 3 * DAY + expected + 1), "the minute ends with the clock's");
        }
    }

    #[test]
    fn summer_time_moves_the_week() {
        let berlin = zone("Europe/Berlin");
        let at = |moment: &str| since_monday(moment.parse().expect("a moment"), &berlin).0 / 60;
        // On Sunday 2027-03-28 at 02:00 clocks went to 03:00.
        assert_eq!(at("2027-03-28T00:59:00Z"), 6 * DAY + 60 + 59);
        assert_eq!(at("2027-03-28T01:00:00Z"), 6 * DAY + 3 * 60);
    }

    #[test]
    fn nights_belong_to_the_day_they_begin_on() {
        let has = |hours: Hours, day: u32, hour: u32| week(&[hours]).has(day * DAY + hour * 60);
        let sunday_night = Hours { days: 1 << 6, begin: 22 * 60, end: 30 * 60 };
        assert!(has(sunday_night, 6, 22) && has(sunday_night, 0, 5));
        assert!(!has(sunday_night, 0, 6) && !has(sunday_night, 6, 21) && !has(sunday_night, 5, 23));
        assert_eq!(sunday_night.to_string(), "sun 22:00-06:00");
    }

    #[test]
    fn days_are_printed_as_they_are_read() {
        for (days, text) in [(0b001_1111, "mon-fri 00:00-24:00"), (0b110_0011, "mon,tue,sat,sun 00:00-24:00"), (EVERY_DAY, "00:00-24:00")] {
            assert_eq!(Hours { days, begin: 0, end: DAY }.to_string(), text);
        }
    }
}
