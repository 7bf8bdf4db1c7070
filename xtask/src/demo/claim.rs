//! The demo's three claims, and what has to be measured for each of them to hold.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::traffic::{CTCP_RATE, Direction, Figures};

/// A claim is judged by this many seconds at the end of its run.
const LAST: usize = 4;
/// Percentage of what a lossy path lets through that counts as alive.
const ALIVE: u64 = 90;
/// Percentage of the rate that still counts as dead.
const DEAD: u64 = 1;
const PAST_WINDOW: &str = "tcp-seq-past-win";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Claim {
    /// IPsec over TCP dies under strict inspection.
    StrictKills,
    /// It lives under the shipped bypass policy.
    BypassSaves,
    /// Real TCP lives under strict inspection.
    TcpLives,
}

impl Claim {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::StrictKills => "IPsec over TCP under strict inspection dies",
            Self::BypassSaves => "IPsec over TCP under the shipped bypass policy lives",
            Self::TcpLives => "a transfer over real TCP under strict inspection lives",
        }
    }

    /// Judges the figures and what Weir dropped meanwhile. The error is a sentence for a person.
    pub(crate) fn check(self, figures: &Figures, drops: &BTreeMap<String, u64>, loss: u8) -> Result<(), String> {
        let directions = [("to the server", &figures.to_server), ("to the client", &figures.to_client)];
        let verdict = match self {
            _ if figures.lost_packets == 0 => Err("the hop lost nothing, so nothing was tested".to_owned()),
            Self::StrictKills => {
                directions.into_iter().try_for_each(|(name, direction)| died(name, direction)).and_then(|()| grew(drops, PAST_WINDOW))
            }
            Self::BypassSaves => directions.into_iter().try_for_each(|(name, direction)| alive(name, direction, loss)),
            Self::TcpLives => transferred(&figures.to_server).and_then(|()| nothing_dropped(drops)),
        };
        verdict.map_err(|problem| format!("not shown: {}: {problem}", self.title()))
    }
}

/// It worked at first and delivers nothing in the end.
fn died(name: &str, direction: &Direction) -> Result<(), String> {
    let rate = u64::from(CTCP_RATE);
    let first = direction.delivered.first().copied().unwrap_or(0);
    if first * 2 < rate {
        return Err(format!("{name} it never worked: {first} of {rate} datagrams in the first second, which had no loss"));
    }
    let last: u64 = direction.last(LAST).iter().sum();
    if last * 100 > rate * DEAD * seconds(direction) {
        return Err(format!("{name} it still delivered {last} datagrams in the last {LAST} seconds"));
    }
    Ok(())
}

/// It delivers what the path lets through, unharmed.
fn alive(name: &str, direction: &Direction, loss: u8) -> Result<(), String> {
    let passes = u64::from(CTCP_RATE) * seconds(direction) * 100_u64.saturating_sub(u64::from(loss)) / 100;
    let last: u64 = direction.last(LAST).iter().sum();
    if passes == 0 || last * 100 < passes * ALIVE {
        return Err(format!("{name} only {last} datagrams came in the last {LAST} seconds, of about {passes} that the path lets through"));
    }
    if direction.damaged > 0 {
        return Err(format!("{name} {} datagrams were not what was sent", direction.damaged));
    }
    Ok(())
}

/// It never stood still in the end, and every byte came.
fn transferred(direction: &Direction) -> Result<(), String> {
    if direction.last(LAST).len() < LAST || direction.last(LAST).contains(&0) {
        return Err(format!("it stood still: bytes in the last {LAST} seconds were {:?}", direction.last(LAST)));
    }
    if direction.damaged > 0 || direction.delivered_total != direction.sent_total {
        return Err(format!(
            "{} of {} bytes came, {} times not those that were sent",
            direction.delivered_total, direction.sent_total, direction.damaged
        ));
    }
    Ok(())
}

fn grew(drops: &BTreeMap<String, u64>, reason: &str) -> Result<(), String> {
    match drops.get(reason) {
        Some(1..) => Ok(()),
        _ => Err(format!("Weir did not drop for `{reason}`, so something else stopped it: {drops:?}")),
    }
}

fn nothing_dropped(drops: &BTreeMap<String, u64>) -> Result<(), String> {
    if drops.is_empty() { Ok(()) } else { Err(format!("Weir dropped packets of it: {drops:?}")) }
}

fn seconds(direction: &Direction) -> u64 {
    u64::try_from(direction.last(LAST).len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(delivered: &[u64]) -> Direction {
        let total = delivered.iter().sum();
        Direction { sent: delivered.to_vec(), delivered: delivered.to_vec(), sent_total: total, delivered_total: total, damaged: 0 }
    }

    fn figures(to_server: &[u64], to_client: &[u64]) -> Figures {
        Figures { to_server: direction(to_server), to_client: direction(to_client), lost_packets: 10 }
    }

    fn drops(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
        list.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }

    const ALIVE: [u64; 6] = [400, 400, 390, 395, 388, 392];
    const DEAD: [u64; 6] = [400, 200, 0, 0, 0, 0];

    #[test]
    fn dead_means_both_directions_stopped_and_the_window_was_the_reason() {
        let past = drops(&[(PAST_WINDOW, 9)]);
        let check = |figures: &Figures, drops: &BTreeMap<String, u64>| Claim::StrictKills.check(figures, drops, 2);
        assert_eq!(check(&figures(&DEAD, &DEAD), &past), Ok(()));
        assert!(check(&figures(&DEAD, &ALIVE), &past).is_err(), "one direction lives");
        assert!(check(&figures(&[0; 6], &[0; 6]), &past).is_err(), "it never worked");
        assert!(check(&figures(&DEAD, &DEAD), &drops(&[("acl-drop", 9)])).is_err(), "something else stopped it");
        assert!(check(&Figures { lost_packets: 0, ..figures(&DEAD, &DEAD) }, &past).is_err(), "there was no loss");
    }

    #[test]
    fn alive_means_both_directions_deliver_what_the_path_lets_through() {
        let check = |figures: &Figures| Claim::BypassSaves.check(figures, &BTreeMap::new(), 2);
        assert_eq!(check(&figures(&ALIVE, &ALIVE)), Ok(()));
        assert!(check(&figures(&ALIVE, &DEAD)).is_err());
        assert!(check(&figures(&ALIVE, &[400, 400, 350, 350, 350, 350])).is_err(), "below 90 % of 392");
        assert!(check(&figures(&[], &[])).is_err(), "nothing was measured");
        let mut damaged = figures(&ALIVE, &ALIVE);
        damaged.to_client.damaged = 1;
        assert!(check(&damaged).is_err());
    }

    #[test]
    fn a_transfer_lives_if_it_never_stands_still_is_whole_and_nothing_was_dropped() {
        let good = figures(&[4_000_000; 6], &[0; 6]);
        let check = |figures: &Figures, drops: &BTreeMap<String, u64>| Claim::TcpLives.check(figures, drops, 2);
        assert_eq!(check(&good, &drops(&[])), Ok(()));
        assert!(check(&good, &drops(&[("tcp-invalid-ack", 1)])).is_err());
        assert!(check(&figures(&[9, 9, 9, 0, 9, 9], &[0; 6]), &drops(&[])).is_err(), "a second without a byte");
        assert!(check(&figures(&[9, 9], &[0; 2]), &drops(&[])).is_err(), "too short to tell");
        let mut cut = good.clone();
        cut.to_server.delivered_total -= 1;
        assert!(check(&cut, &drops(&[])).is_err());
        let mut damaged = good;
        damaged.to_server.damaged = 1;
        assert!(check(&damaged, &drops(&[])).is_err());
    }
}
