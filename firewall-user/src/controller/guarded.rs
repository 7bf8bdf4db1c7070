//! What the guards of a live flow remember, as people and programs see it.

use firewall_common::{
    flow::{Flow, FlowKey, flow_flags},
    guard::{Guard, proof, side::Side, wants},
};

use crate::{
    api::{Associations, Both, Failure, FlowGuard},
    dataplane::Maps,
};

/// `None` for a flow without a guard, and for one that no packet of it has looked at yet.
pub(super) fn of(maps: &Maps, key: &FlowKey, flow: &Flow) -> Result<Option<FlowGuard>, Failure> {
    if flow.guard & proof::bits::WATCHED == 0 {
        return Ok(None);
    }
    Ok(maps.guard(key)?.map(|guard| describe(flow, &guard)))
}

fn describe(flow: &Flow, guard: &Guard) -> FlowGuard {
    let low = flow.has(flow_flags::INITIATOR_LOW);
    let (from, to) = (guard.side(low), guard.side(!low));
    let asked = |want: u8| guard.wants & u32::from(want) != 0;
    let kinds = [("ctcp", wants::CTCP), ("esp", wants::ESP)];
    let number = |number: u32| (number != 0).then_some(number);
    let both = |get: fn(&Side) -> u32| Associations { to_responder: number(get(from)), to_initiator: number(get(to)) };
    let sequence = |side: &Side| side.current.is_known().then_some(side.current.highest);
    FlowGuard {
        kinds: kinds.into_iter().filter(|(_, want)| asked(*want)).map(|(name, _)| name.to_owned()).collect(),
        proven: asked(wants::CTCP).then(|| proof::is_proven(flow)),
        spi: both(|side| side.current.spi),
        previous_spi: both(|side| side.previous.spi),
        next_spi: both(|side| side.next.spi),
        sequence: Associations { to_responder: sequence(from), to_initiator: sequence(to) },
        refused: Both { to_responder: from.refused.into(), to_initiator: to.refused.into() },
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::guard::association::Association;

    use super::*;

    #[test]
    fn directions_are_the_flows_own() {
        let current = Association { spi: 0x1001, highest: 9, ..Association::default() };
        let guard =
            Guard { wants: u32::from(wants::CTCP | wants::ESP), high: Side { current, refused: 3, ..Side::default() }, ..Guard::default() };
        let shown = describe(&Flow { guard: proof::bits::WATCHED | proof::bits::PROVEN, ..Flow::default() }, &guard);
        assert_eq!(shown.kinds, ["ctcp", "esp"]);
        assert_eq!(shown.proven, Some(true));
        assert_eq!(shown.spi, Associations { to_responder: Some(0x1001), to_initiator: None });
        assert_eq!(shown.sequence, Associations { to_responder: Some(9), to_initiator: None });
        assert_eq!((shown.refused.to_responder, shown.refused.to_initiator), (3, 0));
        let low = describe(&Flow { flags: flow_flags::INITIATOR_LOW, ..Flow::default() }, &Guard { wants: u32::from(wants::ESP), ..guard });
        assert_eq!((low.proven, low.spi.to_initiator), (None, Some(0x1001)));
    }
}
