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
    /// A reset below what its receiver had acknowledged.
    RefusedReset {
        /// The tap saw the receiver send that very acknowledgement.
        witnessed: bool,
    },
}

/// All of a run's drops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Legal packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    pub dropped: u64,
    /// Resets dropped beside those, which lie below what their receivers had acknowledged: these refuse them as well.
    pub refused_resets: u64,
    /// Those of them whose receiver was seen on the wire to send the acknowledgement that Weir compared with.
    pub witnessed_resets: u64,
}

impl Sums {
    pub fn of(dropped: &[Dropped]) -> Self {
        let mut sums = Self::default();
        for Dropped { event, what } in dropped {
            if let What::RefusedReset { witnessed } = what {
                sums.refused_resets += 1;
                sums.witnessed_resets += u64::from(*witnessed);
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
        What::RefusedReset { .. } => None,
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
            let what = judge(&event, tap);
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
        Ok(self.judged)
    }
}

fn judge(event: &Event, tap: &Tap) -> What {
    let (source, destination) = (event.source.socket(), event.destination.socket());
    let ends = source.zip(destination);
    if let Some(acknowledged) = refused_by_its_receiver(event) {
        let witnessed = ends.is_some_and(|(sender, receiver)| tap.acknowledged(receiver, sender, acknowledged));
        return What::RefusedReset { witnessed };
    }
    let seen = ends.zip(event.segment.as_ref()).map(|((source, destination), segment)| tap.around(source, destination, segment.seq));
    What::Lost(seen.unwrap_or_default())
}

/// The acknowledgement that the receiver of a reset had sent, when the reset lies below it. A receiver expects nothing below what it has
/// acknowledged, and discards a reset there (RFC 5961 §3.2 step 1, RFC 9293 §3.10.7.4): whether it arrives or not makes no difference.
///
/// Kernels send such resets: each segment that meets a closed socket is answered with one at the number it acknowledges
/// (RFC 9293 §3.10.7.1), and by then its sender may have received more.
fn refused_by_its_receiver(event: &Event) -> Option<u32> {
    let synchronized = matches!(event.state.as_deref(), Some("established" | "fin-wait" | "half-closed"));
    let reset =
        event.reason.as_deref() == Some("tcp-rstfin-ooo") && event.segment.as_ref().is_some_and(|segment| segment.flags.contains('R'));
    // Of such a flow the lowest number that would have passed is the receiver's highest acknowledgement.
    let arithmetic = event.arithmetic.as_ref().filter(|arithmetic| arithmetic.compared == "seq")?;
    let below = arithmetic.number.wrapping_sub(arithmetic.lowest).cast_signed() < 0;
    (synchronized && reset && below).then_some(arithmetic.lowest)
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
        let refused = |reason, state, compared, number| refused_by_its_receiver(&event(reason, state, compared, number));
        assert_eq!(refused("tcp-rstfin-ooo", "established", "seq", 4), Some(5));
        assert_eq!(refused("tcp-rstfin-ooo", "half-closed", "seq", u32::MAX), Some(5), "numbers wrap");
        assert_eq!(refused("tcp-rstfin-ooo", "established", "seq", 5), None, "exactly there it counts");
        assert_eq!(refused("tcp-rstfin-ooo", "established", "seq", 500), None, "in the window it is challenged");
        assert_eq!(refused("tcp-rstfin-ooo", "established", "seq", 901), None, "past the window the firewall may know less");
        assert_eq!(refused("tcp-rstfin-ooo", "syn-received", "seq", 4), None, "in the handshake the number is another one");
        assert_eq!(refused("tcp-rstfin-ooo", "established", "ack", 4), None);
        assert_eq!(refused("tcp-seq-past-win", "established", "seq", 4), None);
    }
}
