//! The property everything else serves: between two endpoints that keep to the rules, under loss on either side of the firewall,
//! reordering and duplication, no packet is dropped, and the connection ends.

use firewall_common::{
    application::Application,
    flow::{Inspection, NO_SCALE},
    rule::Action,
    testing::{
        builder::Packet,
        endpoint::{Endpoint, Phase, Plan},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::{THE_RULE, Tables},
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

const RUNS: u64 = 2_500;
/// Far more than any run needs.
const MOST_ROUNDS: usize = 40_000;

/// What the network does to a segment, in parts of 256.
#[derive(Clone, Copy, Debug)]
struct Network {
    lost_before: u8,
    lost_behind: u8,
    repeated: u8,
    /// Segments that may overtake one another.
    disorder: usize,
}

struct Run {
    random: fastrand::Rng,
    network: Network,
    world: World,
    /// Client, server.
    ends: [Endpoint; 2],
    /// Segments on their way to the firewall and behind it, by sender.
    before: [Vec<Segment>; 2],
    behind: [Vec<Segment>; 2],
    ports: [u16; 2],
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64, inspection: Inspection) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let calm = random.bool();
        let mut chance = |most: u8| if calm { 0 } else { random.u8(..most) };
        let network = Network { lost_before: chance(60), lost_behind: chance(60), repeated: chance(40), disorder: usize::from(chance(6)) };
        let mut plans = [0, 1].map(|_| plan(&mut random));
        let rooms = plans.map(|plan| plan.room);
        for (plan, room) in plans.iter_mut().zip([rooms[1], rooms[0]]) {
            // A small window makes a slow connection: then there is less to send.
            plan.bytes = plan.bytes.min(room.saturating_mul(30));
        }
        let ends = plans.map(Endpoint::new);
        let ports = [random.u16(1024..), random.u16(1024..)];
        let world = World::under(&Tables::everything(Action::Allow, inspection));
        Self { random, network, world, ends, before: Default::default(), behind: Default::default(), ports, log: Vec::new() }
    }

    /// True once the connection is over.
    fn round(&mut self, abort: bool) -> Result<bool, String> {
        self.world.advance(Nanos(1_000_000));
        for side in 0..2 {
            self.act(side);
            self.move_on(side)?;
        }
        let over = |end: &Endpoint| end.finished() && end.has_all();
        let dead = abort && self.ends.iter().any(|end| end.phase == Phase::Dead);
        let quiet = self.before.iter().chain(&self.behind).all(Vec::is_empty);
        Ok(self.ends.iter().all(over) || (dead && quiet))
    }

    fn act(&mut self, side: usize) {
        let idle = self.before.iter().chain(&self.behind).all(Vec::is_empty);
        let end = &mut self.ends[side];
        match self.random.u8(..8) {
            0..4 => end.push(self.random.usize(1..5)),
            4 => end.read(),
            5 if idle || self.random.u8(..16) == 0 => end.timeout(),
            _ => {}
        }
        self.before[side].extend(end.take());
    }

    /// Some segments reach the firewall, some of those get behind it.
    fn move_on(&mut self, side: usize) -> Result<(), String> {
        while !self.before[side].is_empty() && self.random.u8(..4) != 0 {
            let segment = self.pick(side, false);
            if self.random.u8(..) < self.network.lost_before {
                continue;
            }
            self.judge(side, &segment)?;
            if self.random.u8(..) >= self.network.lost_behind {
                self.behind[side].push(segment);
            }
        }
        while !self.behind[side].is_empty() && self.random.u8(..4) != 0 {
            let segment = self.pick(side, true);
            self.ends[1 - side].receive(&segment);
            let answers = self.ends[1 - side].take();
            self.before[1 - side].extend(answers);
        }
        Ok(())
    }

    fn pick(&mut self, side: usize, behind: bool) -> Segment {
        let queue = if behind { &mut self.behind[side] } else { &mut self.before[side] };
        let place = self.random.usize(..=self.network.disorder.min(queue.len() - 1));
        if self.random.u8(..) < self.network.repeated { queue[place] } else { queue.remove(place) }
    }

    fn judge(&mut self, side: usize, segment: &Segment) -> Result<(), String> {
        let ends = [(CLIENT, self.ports[0]), (SERVER, self.ports[1])];
        let arrival = [FROM_CLIENT, FROM_SERVER][side];
        let frame = Packet::tcp(Family::V4, ends[side], ends[1 - side], segment).build();
        let before = self.world.rule_counters(THE_RULE);
        let verdict = self.world.judge(&frame.bytes, arrival);
        let after = self.world.rule_counters(THE_RULE);
        self.log.push(format!("{} {segment:?} {verdict:?}", ["C", "S"][side]));
        // A reset that its receiver would not obey either may go.
        let useless = segment.has(flags::RST) && segment.seq != self.ends[1 - side].expects();
        match verdict {
            Verdict::Drop(reason) if !useless => Err(format!("{} dropped a legal segment", reason.name())),
            _ if after.needed > before.needed && !useless => Err(format!("a legal segment needed its bypass: reason {}", after.needed_for)),
            _ => Ok(()),
        }
    }

    /// However much is lost, what its ends do is TCP.
    fn is_tcp(&self) -> Result<(), String> {
        match self.world.flows().iter().find_map(|(_, flow, _)| Application::from_number(flow.application)) {
            Some(application) => Err(format!("it is taken for {}", application.name())),
            None => Ok(()),
        }
    }

    fn failure(&self, seed: u64, why: &str) -> String {
        let last = self.log.len().saturating_sub(25);
        format!("seed {seed}: {why}\n{:?}\nflows {:?}\n{}", self.network, self.world.flows(), self.log[last..].join("\n"))
    }
}

fn plan(random: &mut fastrand::Rng) -> Plan {
    let scale = if random.u8(..3) == 0 { NO_SCALE } else { random.u8(..=14) };
    // Room is a multiple of what a shift can say.
    let room = if scale == NO_SCALE { random.u32(1..=65_535) } else { (random.u32(1..=200_000 >> scale.min(10))) << scale.min(10) };
    Plan {
        bytes: if random.u8(..8) == 0 { 0 } else { random.u32(1..100_000) },
        segment: random.u32(1..=1460).max(400),
        room,
        scale: if scale == NO_SCALE { scale } else { scale.min(10) },
        first: if random.bool() { u32::MAX - random.u32(..200_000) } else { random.u32(..) },
        abort_after: None,
    }
}

/// `change` makes a policy that bypasses strict at some moment.
fn simulate(seed: u64, inspection: Inspection, abort: bool, change: bool) -> Result<usize, String> {
    let mut run = Run::new(seed, inspection);
    if abort {
        let side = run.random.usize(..2);
        let mut plan = plan(&mut run.random);
        plan.abort_after = Some(run.random.u32(1..40));
        run.ends[side] = Endpoint::new(plan);
    }
    run.ends[0].open();
    let change = change.then(|| run.random.usize(..300));
    for round in 0..MOST_ROUNDS {
        if change == Some(round) {
            run.world.load(&Tables::everything(Action::Allow, Inspection::Strict));
        }
        match run.round(abort) {
            Ok(false) => {}
            Ok(true) => return run.is_tcp().map(|()| run.log.len()).map_err(|why| run.failure(seed, &why)),
            Err(why) => return Err(run.failure(seed, &why)),
        }
    }
    Err(run.failure(
        seed,
        &format!("the connection never ended: {:?} and {:?} bytes received", run.ends[0].progress(), run.ends[1].progress()),
    ))
}

fn all(inspection: Inspection, abort: bool) {
    let change = inspection == Inspection::Bypass;
    let packets: usize =
        (0..RUNS).map(|seed| simulate(seed, inspection, abort, change).unwrap_or_else(|failure| panic!("{failure}"))).sum();
    println!("{RUNS} connections, {packets} packets");
}

#[test]
fn strict_drops_nothing_legal() {
    all(Inspection::Strict, false);
}

#[test]
fn strict_drops_nothing_legal_when_an_end_gives_up() {
    all(Inspection::Strict, true);
}

#[test]
fn tolerant_drops_nothing_legal() {
    all(Inspection::Tolerant, false);
}

/// Under bypass first, and under strict from some moment on: numbers are learned again from whatever comes, and nothing is dropped for it.
#[test]
fn back_from_bypass_drops_nothing_legal() {
    all(Inspection::Bypass, false);
}

/// A bypass that real connections run under is not needed for one of their packets: nobody keeps one because of what strict inspection would
/// let pass.
#[test]
fn bypass_is_not_needed_by_what_is_legal() {
    for (seeds, abort) in [(0..RUNS, false), (RUNS..RUNS + RUNS / 2, true)] {
        for seed in seeds {
            simulate(seed, Inspection::Bypass, abort, false).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}
