//! A policy that waits to be confirmed: unless that comes in time, the one before comes back.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Controller, blocking,
    change::Change,
    held,
    history::{Index, Pending},
    reload::{InForce, PolicyState},
};
use crate::{
    api::{self, Confirmed, Failure, Kind},
    clock,
    policy::{Clock, Policy},
};

/// Time until the next attempt when the policy before could not be put in force.
const RETRY: Duration = Duration::from_secs(1);

/// What the daemon holds of a policy in force that is not confirmed. The same is on disk, for the next daemon: see [`Pending`].
#[derive(Debug)]
pub(super) struct Confirmation {
    pending: Pending,
    /// When its time is over, on the monotonic clock: setting the calendar must not change how long an operator has.
    until_ns: u64,
    /// What comes back. In memory, so that a broken disk cannot keep a bad policy in force.
    path: PathBuf,
    policy: Policy,
}

impl Confirmation {
    /// Begins now; `previous` is in force up to now.
    pub(super) fn begin(pending: Pending, previous: &InForce, now: &Clock) -> Self {
        let until_ns = now.monotonic_ns.saturating_add(u64::from(pending.seconds) * 1_000_000_000);
        Self { pending, until_ns, path: previous.path.clone(), policy: previous.policy.clone() }
    }

    /// Goes on with what an earlier daemon began.
    pub(super) fn resume(pending: Pending, path: PathBuf, policy: Policy, now: &Clock) -> Self {
        let left = left_of(&pending, now.realtime);
        Self { pending, until_ns: now.monotonic_ns.saturating_add(nanos(left)), path, policy }
    }

    pub(super) fn left(&self, now: &Clock) -> Duration {
        Duration::from_nanos(self.until_ns.saturating_sub(now.monotonic_ns))
    }

    pub(super) const fn number(&self) -> u64 {
        self.pending.number
    }

    pub(super) const fn previous(&self) -> u64 {
        self.pending.previous
    }

    pub(super) fn describe(&self, now: &Clock) -> api::Confirmation {
        let Pending { number, previous, .. } = self.pending;
        api::Confirmation { number, previous, seconds_left: self.left(now).as_nanos().div_ceil(1_000_000_000).try_into().unwrap_or(0) }
    }
}

/// What is left of the time at this moment of the calendar. A calendar set back to before the beginning leaves nothing: better a good
/// policy too early than a bad one too long.
pub(super) fn left_of(pending: &Pending, now: jiff::Timestamp) -> Duration {
    let given = Duration::from_secs(pending.seconds.into());
    match Duration::try_from(now.duration_since(pending.began)) {
        Ok(passed) => given.saturating_sub(passed),
        Err(_) => Duration::ZERO,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Rolls back what is not confirmed in time, for as long as the daemon runs.
pub(super) async fn watch_over(controller: Arc<Controller>) {
    loop {
        let changed = controller.confirmation_changed.notified();
        let left = held(&controller.policy).confirmation.as_ref().map(|confirmation| confirmation.left(&clock::both()));
        match left {
            None => changed.await,
            Some(left) => tokio::select! {
                () = tokio::time::sleep(left) => {
                    if let Err(failure) = blocking(&controller, Controller::roll_back_what_is_over).await {
                        log::error!("the policy before could not be put in force again: {failure}");
                        tokio::time::sleep(RETRY).await;
                    }
                }
                () = changed => {}
            },
        }
    }
}

impl Controller {
    /// Keeps the policy that waits for it.
    pub fn confirm(&self) -> Result<Confirmed, Failure> {
        let mut state = held(&self.policy);
        if state.confirmation.is_none() {
            return Err(Failure::new(Kind::Conflict, "no policy waits to be confirmed"));
        }
        let number = state.history.change(|index| index.confirm().ok_or_else(|| Failure::failed("nothing waits")))?;
        state.confirmation = None;
        drop(state);
        self.confirmation_changed.notify_one();
        log::info!("policy number {number} is confirmed");
        Ok(Confirmed { number })
    }

    /// Puts the policy before in force again, if the time of the present one is over.
    fn roll_back_what_is_over(&self) -> Result<(), Failure> {
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        if state.confirmation.as_ref().is_some_and(|confirmation| confirmation.left(&clock::both()).is_zero()) {
            let number = state.confirmation.as_ref().map_or(0, Confirmation::number);
            log::warn!("policy number {number} was not confirmed in time");
            self.give_up(&mut state, &kept)?;
        }
        Ok(())
    }

    /// Puts the policy before in force again. That it is not noted on disk must not keep it from being in force.
    pub(super) fn give_up(&self, state: &mut PolicyState, kept: &[u8]) -> Result<u32, Failure> {
        let Some(confirmation) = state.confirmation.take() else { return Err(Failure::failed("no policy waits to be confirmed")) };
        let previous = confirmation.previous();
        let (path, policy) = (confirmation.path.clone(), confirmation.policy.clone());
        let change = Change::back_to(previous);
        let generation = match self.put_in_force(state, path, policy, &[], kept, change) {
            Ok(generation) => generation,
            Err(failure) => {
                state.confirmation = Some(confirmation);
                return Err(failure);
            }
        };
        if let Err(failure) = state.history.change(|index: &mut Index| Ok(index.give_up())) {
            log::error!("the history is not up to date: {failure}");
        }
        self.confirmation_changed.notify_one();
        log::warn!("policy number {previous} is in force again, generation {generation}");
        Ok(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Source, load_sources};

    const BEGAN: i64 = 1_800_000_000;

    fn at(monotonic_seconds: u64, second: i64) -> Clock {
        Clock { monotonic_ns: monotonic_seconds * 1_000_000_000, realtime: jiff::Timestamp::from_second(second).expect("a moment") }
    }

    fn pending(seconds: u32) -> Pending {
        Pending { number: 7, previous: 5, began: at(0, BEGAN).realtime, seconds }
    }

    fn policy() -> Policy {
        let text = "[[rule]]\nname = \"a\"\naction = \"drop\"\n".to_owned();
        load_sources(vec![Source { path: "a.toml".into(), text }], None).expect("a policy").0
    }

    fn begun(seconds: u32, now: &Clock) -> Confirmation {
        let previous = InForce { path: "p".into(), policy: policy(), generation: 1, number: Some(5), put_back: false, since: now.realtime };
        Confirmation::begin(pending(seconds), &previous, now)
    }

    #[test]
    fn its_time_passes_on_the_monotonic_clock() {
        let confirmation = begun(60, &at(100, BEGAN));
        assert_eq!(confirmation.left(&at(100, BEGAN)), Duration::from_secs(60));
        // The calendar is set forward by a year, and back.
        assert_eq!(confirmation.left(&at(130, BEGAN + 31_536_000)), Duration::from_secs(30));
        assert_eq!(confirmation.left(&at(159, BEGAN - 31_536_000)), Duration::from_secs(1));
        assert_eq!(confirmation.left(&at(160, BEGAN)), Duration::ZERO);
        assert_eq!(confirmation.left(&at(1_000, BEGAN)), Duration::ZERO);
    }

    #[test]
    fn seconds_left_are_rounded_up() {
        let confirmation = begun(60, &at(100, BEGAN));
        let after = |millis: u64| confirmation.describe(&Clock { monotonic_ns: 100_000_000_000 + millis * 1_000_000, ..at(0, BEGAN) });
        assert_eq!((after(0).seconds_left, after(1).seconds_left, after(59_999).seconds_left, after(60_000).seconds_left), (60, 60, 1, 0));
        assert_eq!((after(0).number, after(0).previous), (7, 5));
    }

    #[test]
    fn another_daemon_goes_by_the_calendar() {
        let resumed = |second: i64| Confirmation::resume(pending(60), "p".into(), policy(), &at(5, second)).left(&at(5, second));
        assert_eq!(resumed(BEGAN + 20), Duration::from_secs(40), "also after the machine was started anew");
        assert_eq!(resumed(BEGAN + 60), Duration::ZERO);
        assert_eq!(resumed(BEGAN - 1), Duration::ZERO, "the calendar was set back");
    }
}
