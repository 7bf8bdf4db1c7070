//! Any bytes as a frame through the whole pipeline: it answers, and counts the frame once and as what it was.

use std::cell::RefCell;

use crate::{
    counter::Counters,
    env::Arrival,
    flow::Inspection,
    reason::Reason,
    rule::Action,
    testing::{
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    verdict::Verdict,
};

thread_local! {
    /// One world for each policy an input may ask for: making one takes longer than judging a frame.
    static WORLDS: RefCell<Vec<World>> = RefCell::new(policies().iter().map(World::under).collect());
}

fn policies() -> [Tables; 6] {
    let everything = |inspection| Tables::everything(Action::Allow, inspection);
    [
        everything(Inspection::Strict),
        everything(Inspection::Bypass),
        everything(Inspection::Tolerant),
        Tables::from_zone_1(Inspection::Strict),
        Tables::everything(Action::Reject, Inspection::Strict),
        everything(Inspection::Bypass).without_sanity(),
    ]
}

/// The first byte names policy and direction, the rest is the frame. It comes twice, so that a flow it makes is met again, and once more
/// from the other side.
pub fn judge(input: &[u8]) {
    let Some((choice, frame)) = input.split_first() else { return };
    let arrivals = if choice & 1 == 0 { [FROM_CLIENT, FROM_CLIENT, FROM_SERVER] } else { [FROM_SERVER, FROM_SERVER, FROM_CLIENT] };
    WORLDS.with_borrow(|worlds| {
        let world = &worlds[usize::from(choice >> 1) % worlds.len()];
        world.clear();
        arrivals.into_iter().for_each(|arrival| judge_once(world, frame, arrival));
        assert!(world.flows().len() <= 1, "one frame has made {} flows", world.flows().len());
    });
}

fn judge_once(world: &World, frame: &[u8], arrival: Arrival) {
    let before = world.counters();
    let verdict = world.judge(frame, arrival);
    let after = world.counters();
    assert_eq!(all(&after), all(&before) + 1, "counted other than once: {verdict:?}");
    let grew = |counter: fn(&Counters) -> u64| counter(&after) > counter(&before);
    match verdict {
        Verdict::Learn => assert!(grew(|counters| counters.passed)),
        Verdict::NoLearn => assert!(grew(|counters| counters.passed_without_learning) || grew(|counters| counters.link_passed)),
        Verdict::Drop(reason) => {
            assert!(Reason::ALL.contains(&reason));
            assert_eq!(after.drops[reason.index()], before.drops[reason.index()] + 1, "{}", reason.name());
        }
        Verdict::Answer => {
            assert!(grew(|counters| counters.answered) && !arrival.egress);
            assert_eq!(after.drops[Reason::Reject.index()], before.drops[Reason::Reject.index()] + 1);
        }
    }
}

/// Every packet a counter stands for.
fn all(counters: &Counters) -> u64 {
    counters.passed + counters.passed_without_learning + counters.link_passed + counters.drops.iter().sum::<u64>()
}
