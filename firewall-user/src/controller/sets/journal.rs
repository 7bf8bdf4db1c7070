//! What becomes of live members, kept on disk: a line for each change, and now and then the file is written anew with what is left.
//!
//! A line is whole or it does not count, so a daemon that is killed while it writes loses that change, which nobody was told of yet.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::live::{Delta, LiveSets, Member};
use crate::{controller::history::make_private, files, group, instance::Instance, policy::Prefix};

/// Of the file's form.
const VERSION: u32 = 1;
/// The file may grow to this many times what it was when last written anew, and by so many bytes before that counts.
const GROWTH: u64 = 4;
const SMALL: u64 = 64 * 1024;

/// Where one instance's live members lie.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    group: Option<u32>,
    /// Bytes now, and when it was written anew. `None`: it is to be written anew.
    sizes: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

/// What was done with some prefixes of one set: all alike, as most changes are.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Step {
    set: String,
    /// Null: they were removed.
    member: Option<Kept>,
    prefixes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Kept {
    since: Timestamp,
    until: Option<Timestamp>,
    uid: Option<u32>,
    because: Option<String>,
}

impl Journal {
    /// Opens an instance's journal and reads what it says. What cannot be read is told of and set aside: it must not keep the box undefended.
    pub(super) fn open(instance: &Instance) -> (Self, LiveSets) {
        let journal = Self { path: instance.state().join("sets.jsonl"), group: group::weir(), sizes: None };
        let sets = journal.read();
        (journal, sets)
    }

    fn read(&self) -> LiveSets {
        let mut sets = LiveSets::default();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return sets,
            Err(error) => {
                log::error!("{} cannot be read, live members of sets are lost: {error}", self.path.display());
                return sets;
            }
        };
        let mut wrong = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let read = match line.strip_suffix('\n') {
                // Only the last one can be without its end.
                None => Err("it was not written to its end".to_owned()),
                Some(line) if number == 0 => match serde_json::from_str::<Header>(line) {
                    Ok(Header { version: VERSION }) => Ok(()),
                    Ok(Header { version }) => Err(format!("it is of version {version}, this weir knows version {VERSION}")),
                    Err(error) => Err(error.to_string()),
                },
                Some(line) => replay(line, &mut sets),
            };
            if let Err(error) = read {
                wrong += 1;
                log::error!("{}:{}: this change of a set cannot be read: {error}", self.path.display(), number + 1);
            }
        }
        if wrong > 0 {
            match files::keep_rejected(&self.path, text.as_bytes()) {
                Ok(kept) => log::error!("the file as it was is kept as {}", kept.display()),
                Err(error) => log::error!("the file as it was cannot be kept: {error}"),
            }
        }
        sets
    }

    /// Notes a change that has been made; `sets` is what is left.
    pub(super) fn note(&mut self, deltas: &[Delta], sets: &LiveSets) -> io::Result<()> {
        let line = encode(&steps(deltas.iter().map(|delta| (delta.set.as_str(), &delta.prefix, delta.after.as_ref()))))?;
        match self.sizes {
            Some((now, then)) if now <= SMALL.max(then.saturating_mul(GROWTH)) => {
                // A part of the line may have been written: then the file is written anew.
                self.sizes = self.append(&line).is_ok().then_some((now + line.len() as u64, then));
                if self.sizes.is_some() { Ok(()) } else { self.write(sets) }
            }
            _ => self.write(sets),
        }
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        // Somebody may have removed it, and a new file would be without its head.
        let mut file = OpenOptions::new().append(true).mode(0o600).open(&self.path)?;
        file.write_all(line)?;
        file.sync_data()
    }

    fn write(&mut self, sets: &LiveSets) -> io::Result<()> {
        let mut bytes = encode(&Header { version: VERSION })?;
        bytes.extend(encode(&steps(sets.all().map(|(set, prefix, member)| (set, prefix, Some(member)))))?);
        make_private(self.path.parent().unwrap_or(&self.path), self.group)?;
        files::write_private(&self.path, &bytes, self.group)?;
        let size = bytes.len() as u64;
        self.sizes = Some((size, size));
        Ok(())
    }
}

/// A line of JSON.
fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Members in a row that are alike make one step.
fn steps<'m>(changes: impl Iterator<Item = (&'m str, &'m Prefix, Option<&'m Member>)>) -> Vec<Step> {
    let mut steps: Vec<(Step, Option<&Member>)> = Vec::new();
    for (set, prefix, member) in changes {
        match steps.last_mut() {
            Some((step, of)) if step.set == set && *of == member => step.prefixes.push(prefix.to_string()),
            _ => {
                let kept = member.map(|member| Kept {
                    since: member.since,
                    until: member.until,
                    uid: member.uid,
                    because: member.because.as_deref().map(str::to_owned),
                });
                steps.push((Step { set: set.to_owned(), member: kept, prefixes: vec![prefix.to_string()] }, member));
            }
        }
    }
    steps.into_iter().map(|(step, _)| step).collect()
}

fn replay(line: &str, sets: &mut LiveSets) -> Result<(), String> {
    let steps: Vec<Step> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    for Step { set, member, prefixes } in steps {
        let member = member.map(|Kept { since, until, uid, because }| Member { since, until, uid, because: because.map(Arc::from) });
        for prefix in &prefixes {
            for prefix in Prefix::of_member(prefix).map_err(|wrong| wrong.message)? {
                sets.put(&set, prefix, member.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xtask::scratch::Scratch;

    use super::*;

    fn journal(name: &str) -> (Scratch, Journal) {
        let scratch = Scratch::create(&format!("sets-{name}")).expect("created");
        let journal = Journal { path: scratch.path().join("instance/sets.jsonl"), group: None, sizes: None };
        (scratch, journal)
    }

    fn delta(prefix: &str, until: Option<i64>, present: bool) -> Delta {
        let member = Member {
            since: Timestamp::UNIX_EPOCH,
            until: until.map(|second| Timestamp::from_second(second).expect("a time")),
            uid: Some(7),
            because: Some("scans".into()),
        };
        let prefix = Prefix::of_member(prefix).expect("a member")[0];
        Delta { set: "blocked".to_owned(), prefix, before: None, after: present.then_some(member) }
    }

    fn note(journal: &mut Journal, sets: &mut LiveSets, deltas: &[Delta]) {
        sets.take(deltas);
        journal.note(deltas, sets).expect("kept");
    }

    fn listed(sets: &LiveSets) -> Vec<(String, Option<Timestamp>)> {
        sets.all().map(|(_, prefix, member)| (prefix.to_string(), member.until)).collect()
    }

    #[test]
    fn what_is_noted_is_read_again() {
        let (_scratch, mut journal) = journal("again");
        let mut sets = LiveSets::default();
        note(&mut journal, &mut sets, &[delta("192.0.2.1", None, true), delta("2001:db8::/32", Some(5), true)]);
        note(&mut journal, &mut sets, &[delta("192.0.2.1", None, false), delta("0.0.0.0/0", None, true)]);
        assert_eq!(listed(&journal.read()), listed(&sets));
        assert_eq!(listed(&sets).len(), 2);
        let (_, _, member) = sets.all().next().expect("a member");
        assert_eq!((member.uid, member.because.as_deref()), (Some(7), Some("scans")));
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_count_and_the_others_do() {
        let (scratch, mut journal) = journal("cut");
        let mut sets = LiveSets::default();
        note(&mut journal, &mut sets, &[delta("192.0.2.1", None, true)]);
        note(&mut journal, &mut sets, &[delta("192.0.2.2", None, true)]);
        let text = fs::read_to_string(&journal.path).expect("there");
        assert_eq!(text.lines().count(), 3);
        fs::write(&journal.path, &text[..text.len() - 9]).expect("written");
        assert_eq!(listed(&journal.read()), [("192.0.2.1".to_owned(), None)]);
        assert_eq!(fs::read_to_string(scratch.path().join("instance/.rejected.sets.jsonl")).expect("kept").len(), text.len() - 9);
        // A daemon that begins with it writes it anew: what follows must not be glued to half a line.
        let mut again = Journal { path: journal.path.clone(), group: None, sizes: None };
        let mut sets = again.read();
        note(&mut again, &mut sets, &[delta("192.0.2.3", None, true)]);
        assert_eq!(listed(&again.read()), [("192.0.2.1".to_owned(), None), ("192.0.2.3".to_owned(), None)]);
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let (_scratch, mut journal) = journal("growth");
        let mut sets = LiveSets::default();
        for round in 0..1_000 {
            note(&mut journal, &mut sets, &[delta("192.0.2.1", Some(round), true)]);
        }
        let size = fs::metadata(&journal.path).expect("there").len();
        assert!(size < SMALL + 4_096, "{size}");
        assert_eq!(listed(&journal.read()), listed(&sets));
    }
}
