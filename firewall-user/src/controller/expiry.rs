//! What happens by itself: the sweep, rules and members of sets whose time has passed, rules whose hours begin or end, devices that go away.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{Controller, blocking, held, sweep};
use crate::{api::Failure, clock, policy::hours};

/// Does, for as long as the daemon runs, what is due about once a second.
pub(super) async fn tick(controller: Arc<Controller>) {
    let mut gone = HashSet::new();
    loop {
        let began = Instant::now();
        let before = std::mem::take(&mut gone);
        match blocking(&controller, move |controller| controller.do_what_is_due(before)).await {
            Ok(now_gone) => gone = now_gone,
            Err(failure) => log::error!("{failure}"),
        }
        tokio::time::sleep(sweep::pause_after(began.elapsed())).await;
    }
}

impl Controller {
    /// Returns the attached interfaces whose device is gone, so that each is told of once.
    fn do_what_is_due(&self, told: HashSet<String>) -> Result<HashSet<String>, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        self.expire_rules()?;
        self.keep_hours()?;
        self.expire_members()?;
        self.look_for_strays()?;
        if let Err(failure) = self.keep_usage(false) {
            log::warn!("{failure}");
        }
        let dataplane = held(&self.dataplane);
        let gone: HashSet<String> =
            dataplane.attachments().filter(|attached| !dataplane.is_present(attached)).map(|attached| attached.name.clone()).collect();
        for name in gone.difference(&told) {
            log::warn!("interface {name} is gone; when it is back: weir attach {name} --zone ZONE");
        }
        Ok(gone)
    }

    /// Keeps the dataplane's week right, which summer time and whoever sets the clock may move; and judges live flows again when a rule has
    /// come into its hours or gone out of them.
    fn keep_hours(&self) -> Result<(), Failure> {
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        let Some(in_force) = &state.in_force else { return Ok(()) };
        if in_force.policy.rules().iter().all(|rule| rule.hours.is_empty()) {
            state.in_hours.clear();
            return Ok(());
        }
        let (zone, clock) = (in_force.policy.defaults().zone(), clock::both());
        self.maps.config.set_week_began(hours::week_began(&clock, &zone));
        let scheduled = in_force.policy.rules().iter().filter(|rule| rule.enabled && !rule.hours.is_empty());
        let now: BTreeMap<String, bool> =
            scheduled.map(|rule| (rule.name.clone(), hours::has(&rule.hours, clock.realtime, &zone))).collect();
        let before = std::mem::replace(&mut state.in_hours, now);
        let changed = |(name, is): (&String, &bool)| (before.get(name) == Some(&!is)).then(|| (name.clone(), *is));
        let changed: Vec<(String, bool)> = state.in_hours.iter().filter_map(changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let generation = self.renew(&mut state, &[], &kept)?;
        for (name, is) in changed {
            let what = if is { "is in its hours" } else { "is out of its hours" };
            log::info!("rule {name} {what}; live flows are judged again, generation {generation}");
        }
        Ok(())
    }

    /// A rule whose time has passed stops matching by itself; its live flows must be judged again, so the generation goes up.
    fn expire_rules(&self) -> Result<(), Failure> {
        let kept: Vec<u8> = held(&self.dataplane).attachments().map(|attached| attached.zone).collect();
        let mut state = held(&self.policy);
        let now = jiff::Timestamp::now();
        let Some(in_force) = &state.in_force else { return Ok(()) };
        let due = in_force.policy.rules().iter().filter(|rule| rule.expires.is_some_and(|at| in_force.since < at && at <= now));
        let names: Vec<String> = due.map(|rule| rule.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let generation = self.renew(&mut state, &[], &kept)?;
        log::info!("expired: rule {}; live flows are judged again, generation {generation}", names.join(", "));
        Ok(())
    }
}
