//! When rules were last used, and why bypass rules were last needed, on the calendar.
//!
//! The dataplane counts, and its maps outlive the daemon; its clock does not outlive the machine. So what is known is kept in a file about once
//! a minute and at the end, and is added to what new maps count from zero.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use firewall_common::{counter::RuleCounters, reason::Reason};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::history::make_private;
use crate::{api::Failure, files, group, instance::Instance, policy::Clock};

/// Between two writes.
const INTERVAL: Duration = Duration::from_secs(60);
const VERSION: u32 = 1;
const FILE: &str = "rules.json";

/// What is known of a rule's use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) last_hit: Option<Timestamp>,
    /// Packets of its bypass flows that strict inspection would have dropped.
    pub(super) needed: u64,
    pub(super) last_needed: Option<Timestamp>,
    /// Why the last of them would have been dropped.
    pub(super) needed_for: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Since when all of this is known: the rule has been in force, at this level, as long.
    since: Timestamp,
    bypass: bool,
    /// Before the present maps were made.
    before: Used,
    /// Then, and with the present maps.
    total: Used,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Which maps `total` counts.
    maps: String,
    rules: BTreeMap<String, Entry>,
}

/// A rule in force and what its maps say.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) bypass: bool,
    pub(super) counters: RuleCounters,
}

/// What is known of the rules in force.
#[derive(Debug)]
pub(super) struct Usage {
    directory: PathBuf,
    group: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: Kept,
    /// What the file says.
    written: Option<Kept>,
    /// When it was last written or should have been, and under which generation of the policy.
    tried: Option<(Instant, u32)>,
}

impl Usage {
    /// Reads what an earlier daemon knew. `maps` tells these maps from all others there ever were. A file that cannot be read is told of, and
    /// knowledge begins anew: the firewall must start.
    pub(super) fn open(instance: &Instance, maps: String) -> Self {
        Self::open_in(instance.state(), group::weir(), maps)
    }

    fn open_in(directory: PathBuf, group: Option<u32>, maps: String) -> Self {
        let read = read(&directory.join(FILE)).unwrap_or_else(|failure| {
            log::error!("when rules were last used and needed is known from now on only: {failure}");
            None
        });
        let mut kept = read.unwrap_or_else(|| Kept { version: VERSION, maps: maps.clone(), rules: BTreeMap::new() });
        if kept.maps != maps {
            kept.maps = maps;
            kept.rules.values_mut().for_each(|entry| entry.before = entry.total.clone());
        }
        Self { directory, group, state: Mutex::new(State { kept, written: None, tried: None }) }
    }

    /// Notes what the maps say of a rule in force; returns what is known, and since when.
    pub(super) fn note(&self, counted: &Counted, clock: &Clock) -> (Used, Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.kept.note(counted, clock);
        (entry.total.clone(), entry.since)
    }

    /// What was last noted of a rule, and since when it is known.
    pub(super) fn known(&self, name: &str) -> Option<(Used, Timestamp)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.rules.get(name).map(|entry| (entry.total.clone(), entry.since))
    }

    /// True about once a minute, and once under each generation of the policy: [`Self::keep`] is due.
    pub(super) fn is_due(&self, generation: u32) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.tried.is_none_or(|(tried, of)| of != generation || tried.elapsed() >= INTERVAL);
        if due {
            state.tried = Some((Instant::now(), generation));
        }
        due
    }

    /// Keeps what is known of these rules, and forgets all others.
    pub(super) fn keep(&self, rules: &[Counted], clock: &Clock) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for counted in rules {
            state.kept.note(counted, clock);
        }
        let in_force: BTreeSet<&str> = rules.iter().map(|counted| counted.name.as_str()).collect();
        state.kept.rules.retain(|name, _| in_force.contains(name.as_str()));
        if state.written.as_ref() != Some(&state.kept) {
            self.write(&state.kept)?;
            state.written = Some(state.kept.clone());
        }
        Ok(())
    }

    fn write(&self, kept: &Kept) -> Result<(), Failure> {
        let path = self.directory.join(FILE);
        let failed = |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
        make_private(&self.directory, self.group).map_err(failed)?;
        let bytes = serde_json::to_vec(kept).map_err(|error| failed(error.into()))?;
        files::write_private(&path, &bytes, self.group).map_err(failed)
    }
}

impl Kept {
    fn note(&mut self, counted: &Counted, clock: &Clock) -> &Entry {
        let now = whole_seconds(clock.realtime);
        let anew = || Entry { since: now, bypass: counted.bypass, before: Used::default(), total: Used::default() };
        let entry = self.rules.entry(counted.name.clone()).or_insert_with(anew);
        if entry.bypass != counted.bypass {
            (entry.since, entry.bypass) = (now, counted.bypass);
        }
        entry.total = entry.before.with(&counted.counters, clock);
        entry
    }
}

impl Used {
    fn with(&self, counters: &RuleCounters, clock: &Clock) -> Self {
        let last_needed = on_calendar(counters.last_needed, clock);
        let reason = u8::try_from(counters.needed_for).ok().and_then(Reason::from_number);
        Self {
            last_hit: on_calendar(counters.last_hit, clock).or(self.last_hit),
            needed: self.needed.saturating_add(counters.needed),
            last_needed: last_needed.or(self.last_needed),
            needed_for: if last_needed.is_some() { reason.map(|reason| reason.name().to_owned()) } else { self.needed_for.clone() },
        }
    }
}

/// A moment of the monotonic clock, 0 for never. To the second: the two clocks do not run quite alike.
pub(super) fn on_calendar(moment: u64, clock: &Clock) -> Option<Timestamp> {
    if moment == 0 {
        return None;
    }
    let ago = SignedDuration::from_nanos(i64::try_from(clock.monotonic_ns.saturating_sub(moment)).ok()?);
    clock.realtime.checked_sub(ago).ok().map(whole_seconds)
}

fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// Whole seconds since a moment; 0 when the calendar was set back.
pub(super) fn seconds_since(moment: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second() - moment.as_second()).unwrap_or(0)
}

fn read(path: &Path) -> Result<Option<Kept>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{} cannot be read: {error}", path.display()));
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| failed(&error))?,
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    if kept.version == VERSION {
        Ok(Some(kept))
    } else {
        Err(failed(&format!("it is of version {}, this weir knows {VERSION}", kept.version)))
    }
}

#[cfg(test)]
mod tests {
    use xtask::scratch::Scratch;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn scratch(name: &str) -> Scratch {
        Scratch::create(&format!("usage-{name}")).expect("created")
    }

    fn open(scratch: &Scratch, maps: &str) -> Usage {
        Usage::open_in(scratch.path().join("instance"), None, maps.to_owned())
    }

    /// So many seconds after the machine was booted, at this second of the calendar.
    fn clock(up: u64, calendar: i64) -> Clock {
        Clock { monotonic_ns: up * SECOND, realtime: Timestamp::from_second(calendar).expect("a moment") }
    }

    fn counted(name: &str, bypass: bool, needed: u64, last_needed: u64) -> Counted {
        let needed_for = if needed == 0 { 0 } else { Reason::TcpSeqPastWindow as u32 };
        let counters = RuleCounters { needed, last_needed: last_needed * SECOND, needed_for, ..RuleCounters::default() };
        Counted { name: name.to_owned(), bypass, counters }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a moment")
    }

    #[test]
    fn a_new_daemon_over_the_same_maps_counts_nothing_twice() {
        let scratch = scratch("restart");
        let usage = open(&scratch, "a");
        usage.keep(&[counted("vpn", true, 7, 90)], &clock(100, 1000)).expect("written");
        let (used, since) = open(&scratch, "a").note(&counted("vpn", true, 9, 195), &clock(200, 1100));
        assert_eq!((used.needed, used.last_needed, since), (9, Some(at(1095)), at(1000)));
        assert_eq!(used.needed_for.as_deref(), Some("tcp-seq-past-win"));
    }

    #[test]
    fn what_was_known_before_a_reboot_counts_on() {
        let scratch = scratch("reboot");
        open(&scratch, "a").keep(&[counted("vpn", true, 7, 90)], &clock(100, 1000)).expect("written");
        let usage = open(&scratch, "b");
        let (used, since) = usage.note(&counted("vpn", true, 0, 0), &clock(5, 5000));
        assert_eq!((used.needed, used.last_needed, since), (7, Some(at(990)), at(1000)), "nothing new yet");
        assert_eq!(used.needed_for.as_deref(), Some("tcp-seq-past-win"));
        usage.keep(&[counted("vpn", true, 2, 8)], &clock(10, 5005)).expect("written");
        let (used, _) = open(&scratch, "c").note(&counted("vpn", true, 1, 3), &clock(4, 9000));
        assert_eq!((used.needed, used.last_needed), (10, Some(at(8999))));
    }

    #[test]
    fn a_rule_that_was_gone_or_was_strict_is_known_anew() {
        let scratch = scratch("anew");
        let usage = open(&scratch, "a");
        let keep = |rules: &[Counted], second| usage.keep(rules, &clock(100, second)).expect("written");
        keep(&[counted("vpn", true, 0, 0), counted("web", false, 0, 0)], 1000);
        keep(&[counted("web", true, 0, 0)], 2000);
        keep(&[counted("vpn", true, 0, 0), counted("web", true, 0, 0)], 3000);
        let since = |name: &str| usage.note(&counted(name, true, 0, 0), &clock(100, 4000)).1;
        assert_eq!((since("vpn"), since("web")), (at(3000), at(2000)));
    }

    #[test]
    fn a_broken_file_begins_anew_and_is_written_over() {
        let scratch = scratch("broken");
        fs::create_dir_all(scratch.path().join("instance")).expect("made");
        let path = scratch.path().join("instance").join(FILE);
        for text in ["{", "{\"version\":9,\"maps\":\"a\",\"rules\":{}}", "[]"] {
            fs::write(&path, text).expect("written");
            assert!(read(&path).is_err(), "{text}");
            let usage = open(&scratch, "a");
            usage.keep(&[counted("vpn", true, 1, 2)], &clock(3, 1000)).expect("written");
            assert!(read(&path).is_ok_and(|kept| kept.is_some()));
        }
    }

    #[test]
    fn it_is_written_about_once_a_minute_and_under_every_policy() {
        let scratch = scratch("often");
        let usage = open(&scratch, "a");
        assert_eq!([4, 4, 4, 6, 6].map(|generation| usage.is_due(generation)), [true, false, false, true, false]);
    }

    #[test]
    fn never_is_never() {
        assert_eq!(on_calendar(0, &clock(10, 10)), None);
        assert_eq!(on_calendar(4 * SECOND, &clock(10, 100)), Some(at(94)));
        // Another CPU's clock was a moment ahead.
        assert_eq!(on_calendar(11 * SECOND, &clock(10, 100)), Some(at(100)));
        assert_eq!((seconds_since(at(5), at(8)), seconds_since(at(8), at(5))), (3, 0));
    }
}
