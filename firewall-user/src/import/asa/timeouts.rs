//! `timeout` and `set connection timeout`: idle times of the whole box and of classes.

use firewall_common::limit::Limits;

use super::{left::List, lines::Line};
use crate::policy::duration;

/// What a class says of its connections' time, numbers and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    /// Milliseconds, for connections of every protocol.
    pub(super) idle: Option<u32>,
    /// For TCP alone, as older releases have it.
    pub(super) established: Option<u32>,
    pub(super) half_closed: Option<u32>,
    pub(super) embryonic: Option<u32>,
    /// Initial sequence numbers stay as they are.
    pub(super) keep_numbers: bool,
    pub(super) limits: Limits,
}

/// Idle times of `[defaults]`, by key.
#[derive(Debug, Default)]
pub(super) struct BoxTimeouts<'t> {
    pub(super) keys: Vec<(&'static str, u32)>,
    pub(super) lines: Vec<Line<'t>>,
}

/// What an ASA's word is in a policy. A UDP connection has one idle time there, whatever has passed.
const KEYS: [(&str, &[&str]); 4] =
    [("conn", &["established"]), ("half-closed", &["half-closed"]), ("udp", &["udp-single", "udp-stream"]), ("icmp", &["icmp"])];
/// Longer than any idle time of a policy: 49 days, in seconds.
const TOO_LONG: u64 = 49 * 86_400;

impl<'t> BoxTimeouts<'t> {
    /// `timeout conn 1:00:00 half-closed 0:10:00 …`.
    pub(super) fn read(&mut self, line: &Line<'t>, list: &mut List) {
        let words = line.words();
        let mut used = false;
        for pair in words[1..].chunks(2) {
            let &[word, time] = pair else {
                // `absolute` and `inactivity` stand alone, behind a user's timeout.
                leave(line, list);
                break;
            };
            let Some((_, keys)) = KEYS.iter().find(|(known, _)| *known == word) else {
                leave(line, list);
                continue;
            };
            match milliseconds(time) {
                Ok(millis) => {
                    for key in *keys {
                        self.keys.retain(|(known, _)| known != key);
                        self.keys.push((key, millis));
                    }
                    used = true;
                }
                Err(why) => list.add("timeout", line, format!("{word} {time}: {why}"), "the built-in idle time holds"),
            }
        }
        if used {
            self.lines.push(*line);
        }
    }
}

fn leave(line: &Line<'_>, list: &mut List) {
    let hint = "docs/tracking.md has the idle times there are";
    list.once("timeout", line, "idle times of translations, of inspected protocols, of users and of routes: Weir has no such things", hint);
}

/// What follows `set connection timeout`; true when anything of it is carried over.
pub(super) fn read_class(line: &Line<'_>, words: &[&str], connection: &mut Connection, list: &mut List) -> bool {
    let mut used = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let field = match *word {
            "idle" => &mut connection.idle,
            "tcp" => &mut connection.established,
            "half-closed" => &mut connection.half_closed,
            "embryonic" => &mut connection.embryonic,
            "reset" => {
                let hint = "endpoints find out by themselves when a flow was idle for too long";
                list.add("timeout", line, "`reset`: Weir sends none when a flow's time is over", hint);
                at += 1;
                continue;
            }
            "dcd" => {
                list.add("timeout", line, "`dcd`: Weir does not ask idle endpoints whether they live", "let the endpoints use keepalives");
                return used;
            }
            other => {
                list.add("timeout", line, format!("`{other}` is not known"), "see idle-timeout and timeouts of a rule");
                return used;
            }
        };
        match words.get(at + 1).map_or(Err("a time is missing"), |time| milliseconds(time)) {
            Ok(millis) => {
                *field = Some(millis);
                used = true;
            }
            Err(why) => list.add("timeout", line, format!("{word}: {why}"), "the idle time of [defaults] holds"),
        }
        at += 2;
    }
    used
}

/// `H:MM:SS`.
fn milliseconds(time: &str) -> Result<u32, &'static str> {
    let parts: Vec<u64> = time.split(':').map_while(|part| part.parse().ok().filter(|_| part.len() <= 4)).collect();
    let &[hours, minutes, seconds] = &parts[..] else { return Err("it is not a time such as 1:00:00") };
    match hours * 3_600 + minutes * 60 + seconds {
        0 => Err("never: a flow of Weir always has an end"),
        seconds if seconds >= TOO_LONG => Err("longer than a rule's idle time can be"),
        seconds => Ok(u32::try_from(seconds * 1_000).unwrap_or(u32::MAX)),
    }
}

impl Connection {
    /// `idle-timeout` of a rule, and its `timeouts`.
    pub(super) fn keys(&self, bypass: bool) -> (Option<String>, Vec<(&'static str, String)>) {
        let print = |millis: u32| duration::print(millis);
        let mut timeouts = Vec::new();
        for (key, millis) in [("embryonic", self.embryonic), ("established", self.established), ("half-closed", self.half_closed)] {
            // Under bypass there are no such states.
            if !bypass {
                timeouts.extend(millis.map(|millis| (key, print(millis))));
            }
        }
        if bypass && self.idle.is_none() {
            timeouts.extend(self.established.map(|millis| ("bypass", print(millis))));
        }
        (self.idle.map(print), timeouts)
    }
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn times_are_read() {
        assert_eq!(milliseconds("1:00:00"), Ok(3_600_000));
        assert_eq!(milliseconds("0:00:15"), Ok(15_000));
        for wrong in ["0:0:0", "1:00", "1:00:00:00", "-1:00:00", "a:b:c", "", "1200:00:00", "99999:0:0"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }
}
