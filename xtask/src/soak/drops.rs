//! Every packet that Weir drops during a soak, by Weir's own events, and what it was: a legal packet lost, or a reset that its receiver
//! refuses as well.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::tap::Tap;
use crate::{
    test::{
        lab::wait_for,
        listener::{Event, Figures, Listener},
    },
    weir::Weir,
};

/// More than there can be in a second: none may be held back.
pub const RATE: &[&str] = &["--event-rate", "1000000"];

/// Losses that are described one by one.
const MOST_DESCRIBED: usize = 20;

/// A packet that Weir dropped.
#[derive(Debug)]
pub struct Dropped {
    pub event: Event,
    pub what: What,
}

/// What a dropped packet was.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A legal packet, with what its flow sent around it.
    Lost(String),
    /// A reset below what its receiver had acknowledged, by Weir's numbers. The tap's are asked at the end.
    RefusedReset,
}

/// All of a run's drops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Legal packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    pub dropped: u64,
    /// Resets dropped beside those, which lie below what their receivers had acknowledged: these refuse them as well.
    pub refused_resets: u64,
}

impl Sums {
    pub fn of(dropped: &[Dropped]) -> Self {
        let mut sums = Self::default();
        for Dropped { event, what } in dropped {
            if matches!(what, What::RefusedReset) {
                sums.refused_resets += 1;
            } else {
                sums.dropped += 1;
                *sums.drops.entry(event.reason.clone().unwrap_or_default()).or_default() += 1;
            }
        }
        sums
    }
}

/// The first legal packets that were dropped, as a person needs to see them.
pub fn losses(dropped: &[Dropped]) -> impl Iterator<Item = String> {
    let lost = dropped.iter().filter_map(|Dropped { event, what }| match what {
        What::Lost(around) => Some(format!("Weir dropped a legal packet: {event:?}{around}")),
        What::RefusedReset => None,
    });
    lost.take(MOST_DESCRIBED)
}

/// Listens to Weir's drops.
#[derive(Debug)]
pub struct Drops {
    listener: Listener,
    judged: Vec<Dropped>,
    /// How many were told at the last look.
    told: usize,
}

impl Drops {
    pub fn listen(weir: &Weir, out: PathBuf) -> Result<Self> {
        Ok(Self { listener: Listener::start(weir, &["kind=dropped"], out)?, judged: Vec::new(), told: 0 })
    }

    /// Judges those that the last look found: by now the tap has read what was on the wire around them. Returns whether one is a loss.
    pub fn look(&mut self, tap: &Tap) -> Result<bool> {
        let events = self.listener.events()?;
        let ready = self.told;
        self.told = events.len();
        self.judge(events.into_iter().take(ready), tap);
        Ok(self.judged.iter().any(|dropped| matches!(dropped.what, What::Lost(_))))
    }

    fn judge(&mut self, events: impl Iterator<Item = Event>, tap: &Tap) {
        for event in events.skip(self.judged.len()) {
            // Looking for a flow among all the tap remembers takes a while.
            let shown = self.judged.iter().filter(|dropped| matches!(dropped.what, What::Lost(_))).count() < MOST_DESCRIBED;
            let what = judge(&event, shown.then_some(tap));
            self.judged.push(Dropped { event, what });
        }
    }

    /// All of them, judged. `counted` is how many Weir counted: with one event too few nothing would be known.
    pub fn finish(mut self, weir: &Weir, counted: u64, tap: &Tap) -> Result<Vec<Dropped>> {
        let Figures { sent, limited, lost, .. } = Figures::of(weir)?;
        ensure!(limited + lost == 0, "{limited} drops were not told for their rate, and {lost} for want of room: nothing is known of them");
        ensure!(sent == counted, "Weir counted {counted} drops, and told of {sent}");
        wait_for("every drop to be told", || Ok(self.listener.events()?.len() as u64 == counted))?;
        let events = self.listener.events()?;
        self.judge(events.into_iter(), tap);
        self.listener.finish()?;
        tap.settle()?;
        for Dropped { event, what } in &mut self.judged {
            if *what == What::RefusedReset && !witnessed(event, tap) {
                *what = What::Lost("\n    (nothing on the wire says that its receiver refuses it)".to_owned());
            }
        }
        Ok(self.judged)
    }
}

/// Whether the receiver of a reset was seen on the wire to acknowledge what lies behind it.
fn witnessed(event: &Event, tap: &Tap) -> bool {
    let ends = event.source.socket().zip(event.destination.socket());
    ends.zip(event.segment.as_ref()).is_some_and(|((sender, receiver), reset)| tap.acknowledged_past(receiver, sender, reset.seq))
}

/// What a dropped packet was; a loss with its flow around it, where the tap is asked.
fn judge(event: &Event, tap: Option<&Tap>) -> What {
    let (source, destination) = (event.source.socket(), event.destination.socket());
    if is_refused_by_its_receiver(event) {
        return What::RefusedReset;
    }
    let ends = source.zip(destination).zip(event.segment.as_ref());
    let seen = tap.zip(ends).map(|(tap, ((source, destination), segment))| tap.around(source, destination, segment.seq));
    What::Lost(seen.unwrap_or_default())
}

/// True for a reset that lies below what its receiver had acknowledged. A receiver expects nothing below what it has acknowledged, and discards a reset there (RFC 5961 §3.2 step 1, RFC 9293 §3.10.7.4): whether it arrives or not makes no difference.
///
/// Kernels send such resets: each segment that meets a closed socket is answered with one at the number it acknowledges
/// (RFC 9293 §3.10.7.1), and by then its sender may have received more.
fn is_refused_by_its_receiver(event: &Event) -> bool {
    let synchronized = matches!(event.state.as_deref(), Some("established" | "fin-wait" | "half-closed"));
    let reset =
        event.reason.as_deref() == Some("tcp-rstfin-ooo") && event.segment.as_ref().is_some_and(|segment| segment.flags.contains('R'));
    // Of such a flow the lowest number that would have passed is the receiver's highest acknowledgement.
    let below = event
        .arithmetic
        .as_ref()
        .is_some_and(|arithmetic| arithmetic.compared == "seq" && arithmetic.number.wrapping_sub(arithmetic.lowest).cast_signed() < 0);
    synchronized && reset && below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str, state: &str, compared: &str, number: u32) -> Event {
        let end = |port: u16| serde_json::json!({"address": "198.51.100.1", "port": port, "zone": "outside", "interface": null});
        let arithmetic = serde_json::json!({"compared": compared, "number": number, "lowest": 5, "highest": 900, "distance": 0});
        let segment = serde_json::json!({"flags": "R", "seq": number, "ack": 0, "window": 0, "payload": 0});
        let event = serde_json::json!({
            "kind": "dropped", "reason": reason, "source": end(40_000), "destination": end(7_001), "rule": "reset-v4", "state": state,
            "segment": segment, "arithmetic": arithmetic,
        });
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn only_resets_below_what_was_acknowledged_are_refused_by_their_receiver() {
        let refused = |reason, state, compared, number| is_refused_by_its_receiver(&event(reason, state, compared, number));
        assert!(refused("tcp-rstfin-ooo", "established", "seq", 4));
        assert!(refused("tcp-rstfin-ooo", "half-closed", "seq", u32::MAX), "numbers wrap");
        assert!(!refused("tcp-rstfin-ooo", "established", "seq", 5), "exactly there it counts");
        assert!(!refused("tcp-rstfin-ooo", "established", "seq", 500), "in the window it is challenged");
        assert!(!refused("tcp-rstfin-ooo", "established", "seq", 901), "past the window the firewall may know less");
        assert!(!refused("tcp-rstfin-ooo", "syn-received", "seq", 4), "in the handshake the number is another one");
        assert!(!refused("tcp-rstfin-ooo", "established", "ack", 4));
        assert!(!refused("tcp-seq-past-win", "established", "seq", 4));
    }
}
