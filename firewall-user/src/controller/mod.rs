//! The daemon: what it holds, how it starts and how it ends. It never stands in the path of a packet.

mod bypass;
mod change;
mod compare;
mod confirmation;
mod counted;
mod events;
mod expiry;
mod flow_log;
mod flows;
mod guard;
mod guarded;
mod history;
mod judge;
mod live;
mod lock;
mod names;
mod one_sided;
mod overload;
mod quality;
mod reload;
mod report;
mod server;
mod sets;
mod signals;
mod start;
mod sweep;
mod trace;
mod usage;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use firewall_common::config::config_flags;

use crate::{
    api::{Adopted, AttachRequest, Detached, Failure, Kind},
    clock,
    dataplane::{self, Dataplane, Maps, Pins, Slots},
    instance::Instance,
    settings::{OnExit, Placement, Settings, check_interface_name},
    zone,
};
use events::Events;
use flow_log::FlowLog;
use history::History;
use live::Live;
pub use lock::{EditLock, Lock};
use names::Names;
use one_sided::strays::Strays;
use reload::PolicyState;
pub use server::MAX_BODY;
use start::Beginning;
use sweep::Sweep;
use usage::Usage;

/// Everything the daemon knows.
#[derive(Debug)]
pub struct Controller {
    instance: Instance,
    placement: Placement,
    started: Instant,
    maps: Arc<Maps>,
    live: Live,
    sweep: Sweep,
    events: Arc<Events>,
    /// Answers that were dropped for want of a question.
    strays: Strays,
    /// Opened once the maps are there to stay.
    usage: OnceLock<Usage>,
    /// Taken before `policy` where both are.
    dataplane: Mutex<Dataplane>,
    policy: Mutex<PolicyState>,
    /// A policy has begun or ceased to wait to be confirmed.
    confirmation_changed: tokio::sync::Notify,
    /// Held while a policy file is edited.
    edit: Mutex<()>,
    /// Changes of sets that are still to be made.
    desk: sets::Desk,
    /// Held while packets are traced.
    tracing: tokio::sync::Mutex<()>,
    adopted: Option<Adopted>,
}

/// State behind a lock. A panic leaves it as after the last whole step, which is what the maps hold too.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controller {
    /// Starts the dataplane or takes over a running one: policy first, interfaces after. On failure nothing has changed.
    pub fn start(settings: &Settings) -> Result<Self, Failure> {
        // A broken policy must be refused before anything is touched.
        let history = History::open(&settings.instance);
        let beginning = Beginning::choose(&history, &settings.policies, clock::both().realtime)?;
        let options =
            dataplane::Options { sizes: settings.sizes, discard_flows: settings.discard_flows, legacy_egress: settings.legacy_egress };
        let dataplane = Dataplane::open(&settings.instance, &options)?;
        let left = dataplane.left_behind()?;
        for spec in settings.interfaces.iter().filter(|spec| !left.iter().any(|(name, _)| *name == spec.name)) {
            dataplane.check_interface(&spec.name)?;
        }
        let zones = zones_by_interface(settings, left)?;
        let maps = Arc::clone(dataplane.maps());
        warn_of_sizes(&maps, settings)?;
        let events = Arc::new(Events::new(Arc::clone(&maps), settings.event_rate, FlowLog::new(settings.log_file.clone())));
        let policy_state = PolicyState::new(Names::read(&maps)?, Slots::read(&maps)?, history, sets::Sets::open(&settings.instance));
        let controller = Self {
            instance: settings.instance.clone(),
            placement: settings.placement,
            started: Instant::now(),
            maps,
            live: Live::default(),
            sweep: Sweep::new(Arc::clone(&events)),
            events,
            strays: Strays::default(),
            usage: OnceLock::new(),
            dataplane: Mutex::new(dataplane),
            policy: Mutex::new(policy_state),
            confirmation_changed: tokio::sync::Notify::new(),
            edit: Mutex::new(()),
            desk: sets::Desk::default(),
            tracing: tokio::sync::Mutex::new(()),
            adopted: None,
        };
        let warnings = beginning.read.warnings.clone();
        controller.bring_up(settings, beginning, &zones).map(|adopted| Self { adopted, ..controller }).inspect(|controller| {
            controller.tell_warnings(&warnings);
        })
    }

    fn bring_up(&self, settings: &Settings, beginning: Beginning, zones: &BTreeMap<String, String>) -> Result<Option<Adopted>, Failure> {
        let flows = self.sweep.run(&self.maps, &self.live)?;
        let generation_found = self.maps.config.generation();
        let mut dataplane = held(&self.dataplane);
        let mut state = held(&self.policy);
        let names: Vec<&str> = zones.values().map(String::as_str).collect();
        self.set_flag(config_flags::ROUTE, self.placement == Placement::Gateway);
        let generation = self.begin(&mut state, beginning, &names)?;

        let zone_of = |name: &str| zones.get(name).and_then(|zone| state.names.zone_number(zone));
        let interfaces = dataplane.adopt(zone_of)?;
        for spec in &settings.interfaces {
            if dataplane.attachment(&spec.name).is_some() {
                continue;
            }
            let zone = state.names.zone_number(&spec.zone).ok_or_else(|| Failure::failed(format!("zone {} has no number", spec.zone)))?;
            let attached = dataplane.attach(&spec.name, zone, spec.mode)?;
            log::info!("{} is in zone {}, {} mode", attached.name, spec.zone, attached.mode);
        }
        let adopts = dataplane.adopts() || interfaces > 0;
        dataplane.commit()?;
        let identity = Pins::of(&self.instance).identity_of_maps()?;
        self.usage.get_or_init(|| Usage::open(&self.instance, identity));
        let adopted = adopts.then_some(Adopted {
            flows: flows.embryonic + flows.established,
            interfaces,
            generation: if generation_found == 0 { generation } else { generation_found },
        });
        if let Some(Adopted { flows, interfaces, generation }) = adopted {
            log::info!("adopted {flows} flows, {interfaces} interfaces, policy generation {generation}");
        }
        Ok(adopted)
    }

    fn set_flag(&self, flag: u32, on: bool) {
        let flags = self.maps.config.flags();
        self.maps.config.set_flags(if on { flags | flag } else { flags & !flag });
    }

    /// Attaches an interface while running.
    pub fn attach(&self, request: &AttachRequest) -> Result<(), Failure> {
        zone::check(&request.zone)?;
        check_interface_name(&request.name)?;
        let mut dataplane = held(&self.dataplane);
        dataplane.check_interface(&request.name)?;
        let mut state = held(&self.policy);
        // A zone the dataplane has no number for yet changes what "any" means: the policy is lowered anew before packets come.
        if state.names.zone_number(&request.zone).is_none() {
            let kept: Vec<u8> = dataplane.attachments().map(|attached| attached.zone).collect();
            self.renew(&mut state, &[&request.zone], &kept)?;
        }
        let zone = state.names.zone_number(&request.zone).ok_or_else(|| Failure::failed(format!("zone {} has no number", request.zone)))?;
        let attached = dataplane.attach(&request.name, zone, request.mode)?;
        self.sweep.ledger.forget_place(attached.place);
        log::info!("{} attached to zone {}, {} mode", attached.name, request.zone, attached.mode);
        Ok(())
    }

    /// Detaches one interface, or all.
    pub fn detach(&self, name: Option<&str>) -> Result<Detached, Failure> {
        let mut dataplane = held(&self.dataplane);
        let names: Vec<String> = match name {
            Some(name) => vec![name.to_owned()],
            None => dataplane.attachments().map(|attached| attached.name.clone()).collect(),
        };
        for name in &names {
            dataplane.detach(name)?;
            log::info!("{name} detached");
        }
        Ok(Detached { detached: names })
    }

    /// Ends as `--on-exit` says.
    fn finish(&self, on_exit: OnExit) {
        if let Err(failure) = self.keep_usage(true) {
            log::warn!("{failure}");
        }
        let interfaces = held(&self.dataplane).attachments().count();
        match on_exit {
            OnExit::Keep => log::info!(
                "the dataplane goes on without the daemon on {interfaces} interfaces; `weir run` takes it over, \
                 `weir detach --all --instance {}` removes it",
                self.instance
            ),
            OnExit::Detach => match dataplane::detach_all(&Pins::of(&self.instance)) {
                Ok(detached) => log::info!("detached {} interfaces", detached.len()),
                Err(error) => log::error!("detaching failed: {error}"),
            },
        }
    }
}

/// The zone of every interface that will be attached: as told now, else as an earlier controller had it.
fn zones_by_interface(settings: &Settings, left: Vec<(String, Option<String>)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut zones: BTreeMap<String, String> = settings.interfaces.iter().map(|spec| (spec.name.clone(), spec.zone.clone())).collect();
    for (name, zone) in left {
        match (zones.contains_key(&name), zone) {
            (true, _) => {}
            (false, Some(zone)) => {
                zones.insert(name, zone);
            }
            (false, None) => {
                let error = format!("{name} is attached, but its zone is not known any more");
                return Err(Failure::new(Kind::Conflict, error).hint(format!("say it again: --interface ZONE={name}")));
            }
        }
    }
    Ok(zones)
}

/// The tables keep the size they were made with; say so when another is asked for.
fn warn_of_sizes(maps: &Maps, settings: &Settings) -> Result<(), Failure> {
    let asked =
        [(dataplane::TableName::Established, settings.sizes.established), (dataplane::TableName::Embryonic, settings.sizes.embryonic)];
    for (name, asked) in asked {
        let capacity = maps.table(name).capacity()?;
        if capacity != asked {
            log::warn!("table {} keeps its {capacity} places; `weir detach --all` and a new start give it {asked}", name.map());
        }
    }
    Ok(())
}

/// Runs the daemon until it is told to end.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    let lock = Lock::take(&settings.instance)?;
    let controller = Arc::new(Controller::start(settings)?);
    if let Err(error) = EditLock::prepare(&settings.instance) {
        log::warn!("nothing keeps two people from editing the policy at once: {}: {error}", settings.instance.edit_lock().display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the daemon's threads: {error}")))?;
    let served = runtime.block_on(serve(&controller, settings));
    controller.finish(settings.on_exit);
    drop(lock);
    served
}

async fn serve(controller: &Arc<Controller>, settings: &Settings) -> Result<(), Failure> {
    let listener = server::listen(&settings.instance)?;
    if let Some(messages) = held(&controller.dataplane).messages() {
        tokio::spawn(async move {
            if let Err(error) = messages.forward().await {
                log::warn!("the dataplane's messages are no longer read: {error}");
            }
        });
    }
    if let Some(ring) = held(&controller.dataplane).events() {
        tokio::spawn(events::forward(Arc::clone(controller), ring));
    }
    tokio::spawn(expiry::tick(Arc::clone(controller)));
    tokio::spawn(sets::carry_out(Arc::clone(controller)));
    tokio::spawn(confirmation::watch_over(Arc::clone(controller)));
    if settings.watch {
        watch::begin(Arc::clone(controller))?;
    }
    signals::watch_reload(Arc::clone(controller))?;
    let ended = signals::ended()?;
    log::info!("instance {} answers at {}", settings.instance, settings.instance.socket().display());
    let served = server::serve(listener, Arc::clone(controller), ended).await;
    let _ = std::fs::remove_file(settings.instance.socket());
    served
}

/// Runs what may block for a moment (a sweep, a reload) beside the tasks that must not.
async fn blocking<T: Send + 'static>(
    controller: &Arc<Controller>,
    work: impl FnOnce(&Controller) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let controller = Arc::clone(controller);
    match tokio::task::spawn_blocking(move || work(&controller)).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(Kind::Failed, format!("the daemon could not finish this: {error}"))),
    }
}
