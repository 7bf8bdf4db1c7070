//! Answers without a question: SYN-ACKs that are dropped because the SYN never came by. Under strict inspection they are all that the box on
//! the way back sees of a connection, and they leave no flow.
//!
//! Nobody may listen to events, so the daemon does itself: when drops for `tcp-not-syn` have grown, for [`LISTENS`], and then not for
//! [`RESTS`]. A SYN-ACK that nobody confirms is sent again for a minute, so the next one is heard. How many events are made in that time is
//! bounded as for every listener.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use firewall_common::{
    event::{Kind, Record, marks},
    reason::Reason,
    time::Nanos,
    wire::{
        protocol::TCP,
        tcp::flags::{ACK, FIN, RST, SYN},
    },
};

use super::super::{Controller, flows::ip, held};
use crate::{api::Failure, clock};

const SECOND: u64 = 1_000 * Nanos::MILLISECOND;
/// How long the daemon listens.
const LISTENS: u64 = 3 * SECOND;
/// How long it does not afterwards.
const RESTS: u64 = 7 * SECOND;
/// How long a stray counts: as long as a server repeats its SYN-ACK by default.
const REMEMBERED: u64 = 60 * SECOND;
/// Pairs of addresses that are remembered.
const MOST: usize = 256;

/// The dropped answers of late.
#[derive(Debug, Default)]
pub struct Strays {
    listens: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Drops for `tcp-not-syn` at the last look; `None` before the first.
    drops: Option<u64>,
    /// When it ceases to listen or may begin again.
    until: Nanos,
    /// By who answers whom.
    seen: HashMap<(IpAddr, IpAddr), Stray>,
}

#[derive(Clone, Copy, Debug)]
struct Stray {
    count: u64,
    last: Nanos,
}

impl Strays {
    /// Looks at the drops there have been. Says whether to listen from now on, when that changes.
    fn tick(&self, drops: u64, now: Nanos) -> Option<bool> {
        let mut state = held(&self.state);
        let grown = state.drops.replace(drops).is_some_and(|before| drops > before);
        let listens = self.listens.load(Ordering::Relaxed);
        let (next, length) = match listens {
            true if now.0 >= state.until.0 => (false, RESTS),
            false if grown && now.0 >= state.until.0 => (true, LISTENS),
            _ => return None,
        };
        state.until = Nanos(now.0 + length);
        self.listens.store(next, Ordering::Relaxed);
        Some(next)
    }

    /// Whether a record may be of interest.
    pub fn want(&self, record: &Record) -> bool {
        self.listens.load(Ordering::Relaxed) && is_stray(record)
    }

    /// Notes a dropped answer.
    pub fn note(&self, record: &Record) {
        let (low, high) = (ip(&record.key.low), ip(&record.key.high));
        let pair = if record.has(marks::SOURCE_LOW) { (low, high) } else { (high, low) };
        let now = Nanos(record.at);
        let seen = &mut held(&self.state).seen;
        if seen.len() >= MOST && !seen.contains_key(&pair) {
            seen.retain(|_, stray| now.since(stray.last).0 < REMEMBERED);
            if seen.len() >= MOST {
                return;
            }
        }
        let stray = seen.entry(pair).or_insert(Stray { count: 0, last: now });
        *stray = Stray { count: stray.count + 1, last: now };
    }

    /// Dropped answers of late, by whom they were for.
    pub fn by_destination(&self, now: Nanos) -> HashMap<IpAddr, u64> {
        let mut counts = HashMap::new();
        for ((_, destination), stray) in &held(&self.state).seen {
            if now.since(stray.last).0 < REMEMBERED {
                *counts.entry(*destination).or_default() += stray.count;
            }
        }
        counts
    }
}

/// A SYN-ACK that was dropped and has no flow, whatever the reason.
fn is_stray(record: &Record) -> bool {
    record.kind == Kind::Dropped as u8
        && record.key.protocol == TCP
        && record.has(marks::ADDRESSES)
        && !record.has(marks::FLOW)
        && record.tcp_flags & (SYN | ACK | RST | FIN) == SYN | ACK
}

impl Controller {
    /// Listens for strays while there may be some.
    pub(in crate::controller) fn look_for_strays(&self) -> Result<(), Failure> {
        let drops = self.maps.counters()?.drops[Reason::TcpNotSyn.index()];
        if let Some(listen) = self.strays.tick(drops, clock::monotonic()) {
            self.events.listen_itself(if listen { Kind::Dropped.bit() } else { 0 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::{Address, Endpoint, FlowKey};

    use super::*;

    const fn at(seconds: u64) -> Nanos {
        Nanos(seconds * SECOND)
    }

    fn answer(to: u8, seconds: u64) -> Record {
        let end = |last, port| Endpoint { address: Address::v4([192, 0, 2, last]), port };
        let (key, source_is_low) = FlowKey::new(TCP, end(1, 443), end(to, 40_000));
        let mut record = Record { at: at(seconds).0, key, kind: Kind::Dropped as u8, tcp_flags: SYN | ACK, ..Record::default() };
        record.marks = marks::ADDRESSES | if source_is_low { marks::SOURCE_LOW } else { 0 };
        record
    }

    #[test]
    fn it_listens_for_a_while_when_drops_have_grown() {
        let strays = Strays::default();
        assert_eq!(strays.tick(5, at(100)), None, "what was dropped before it began is old");
        assert_eq!(strays.tick(5, at(101)), None);
        assert_eq!(strays.tick(6, at(102)), Some(true));
        assert_eq!(strays.tick(9, at(103)), None, "it listens already");
        assert_eq!(strays.tick(9, at(105)), Some(false));
        assert_eq!(strays.tick(10, at(106)), None, "it rests");
        assert_eq!(strays.tick(10, at(113)), None, "nothing new");
        assert_eq!(strays.tick(11, at(114)), Some(true));
    }

    #[test]
    fn only_answers_without_a_flow_are_strays() {
        let strays = Strays::default();
        assert!(!strays.want(&answer(7, 100)), "it does not listen");
        strays.listens.store(true, Ordering::Relaxed);
        assert!(strays.want(&answer(7, 100)));
        let of_flow = answer(7, 100);
        let of_flow = Record { marks: of_flow.marks | marks::FLOW, ..of_flow };
        for other in [of_flow, Record { tcp_flags: ACK, ..answer(7, 100) }, Record { tcp_flags: SYN, ..answer(7, 100) }] {
            assert!(!strays.want(&other), "{other:?}");
        }
    }

    #[test]
    fn strays_count_for_whom_they_were_and_are_forgotten() {
        let strays = Strays::default();
        for (to, seconds) in [(7, 100), (7, 101), (9, 130)] {
            strays.note(&answer(to, seconds));
        }
        let address = |last| IpAddr::from([192, 0, 2, last]);
        assert_eq!(strays.by_destination(at(131)), HashMap::from([(address(7), 2), (address(9), 1)]));
        assert_eq!(strays.by_destination(at(165)), HashMap::from([(address(9), 1)]));
        for number in 0..=u8::MAX {
            strays.note(&answer(number, 200));
        }
        assert!(held(&strays.state).seen.len() <= MOST);
    }
}
