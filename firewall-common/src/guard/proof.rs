//! Guard `ctcp`: whether a flow has proven to be IPsec over TCP. One byte of its record, [`Flow::guard`], changed under the record's lock.
//!
//! A flow is *proven* by [`IN_A_ROW`] segments with data in a row that carry a good trailer, and *opposed* when it is proven by as many in a row
//! that carry none; each time both sides must have sent one of them. A client alone does not take a server out of inspection, for
//! that server must speak IPsec over TCP too; and who forges the packets of one side does not put a proven flow back.

use crate::{
    flow::{Flow, Inspection, Sender},
    parse::Kind,
    rule::{Rule, rule_flags},
    track::{self, timeout},
    wire::protocol,
};

/// Segments that prove, or oppose.
pub const IN_A_ROW: u8 = 4;

/// Bits of [`Flow::guard`].
pub mod bits {
    /// How many in a row; stays at its maximum.
    pub const RUN: u8 = 0x0f;
    /// Of the run, one at least was the initiator's.
    pub const INITIATOR: u8 = 1 << 4;
    /// One at least was the responder's.
    pub const RESPONDER: u8 = 1 << 5;
    /// The flow has a guard, and there may be an entry in the table beside its record.
    pub const WATCHED: u8 = 1 << 6;
    /// It has proven to be IPsec over TCP.
    pub const PROVEN: u8 = 1 << 7;

    /// What belongs to a run.
    pub(super) const OF_RUN: u8 = RUN | INITIATOR | RESPONDER;
}

#[inline(always)]
#[must_use]
pub const fn is_proven(flow: &Flow) -> bool {
    flow.guard & bits::PROVEN != 0
}

/// One more segment for the run; true when it is long enough, and both sides are in it.
#[inline(always)]
const fn runs_on(flow: &mut Flow, sender: Sender) -> bool {
    let run = flow.guard & bits::RUN;
    let by = match sender {
        Sender::Initiator => bits::INITIATOR,
        Sender::Responder => bits::RESPONDER,
    };
    flow.guard = flow.guard & !bits::RUN | by | if run < bits::RUN { run + 1 } else { run };
    run + 1 >= IN_A_ROW && flow.guard & (bits::INITIATOR | bits::RESPONDER) == bits::INITIATOR | bits::RESPONDER
}

/// Begins the run anew.
#[inline(always)]
pub const fn interrupt(flow: &mut Flow) {
    flow.guard &= !bits::OF_RUN;
}

/// A segment that carries a good trailer has passed. True when the flow is proven by it: it is under bypass from here on.
#[inline(always)]
pub fn support(flow: &mut Flow, sender: Sender, rule: &Rule) -> bool {
    if is_proven(flow) {
        interrupt(flow);
        return false;
    }
    if !runs_on(flow, sender) {
        return false;
    }
    flow.guard = flow.guard & !bits::OF_RUN | bits::PROVEN;
    become_(flow, Inspection::Bypass, rule);
    true
}

/// A segment of a proven flow was refused for carrying no good trailer. True when that puts the flow back under strict inspection.
#[inline(always)]
pub fn oppose(flow: &mut Flow, sender: Sender, rule: &Rule) -> bool {
    if !is_proven(flow) || !runs_on(flow, sender) {
        return false;
    }
    end(flow, rule);
    true
}

/// A proven flow is one no more: strict inspection learns its numbers anew.
#[inline(always)]
pub fn end(flow: &mut Flow, rule: &Rule) {
    flow.guard &= !(bits::OF_RUN | bits::PROVEN);
    become_(flow, Inspection::Strict, rule);
}

#[inline(always)]
fn become_(flow: &mut Flow, inspection: Inspection, rule: &Rule) {
    track::relevel(flow, Kind::Tcp, inspection);
    flow.timeout = timeout::of(flow, protocol::TCP, &rule.timeouts);
}

/// The level of a live flow that goes on under `rule`, whose flows begin with `first`. What the flow has proven counts on; under a rule without
/// a guard nothing of it is left.
#[inline(always)]
pub const fn adopted_level(flow: &mut Flow, rule: &Rule, first: Inspection) -> Inspection {
    if rule.flags & rule_flags::GUARDED == 0 {
        flow.guard = 0;
        return first;
    }
    if rule.flags & rule_flags::GUARD_CTCP == 0 {
        flow.guard &= bits::WATCHED;
        return first;
    }
    if is_proven(flow) { Inspection::Bypass } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::State;

    const I: Sender = Sender::Initiator;
    const R: Sender = Sender::Responder;

    fn flow() -> (Flow, Rule) {
        let rule = Rule { flags: rule_flags::GUARD_CTCP, inspection: Inspection::Bypass as u8, ..Rule::default() };
        (Flow { state: State::Established as u8, guard: bits::WATCHED, ..Flow::default() }, rule)
    }

    #[test]
    fn four_in_a_row_of_both_sides_prove() {
        let (mut flow, rule) = flow();
        assert_eq!([I, R, I].map(|sender| support(&mut flow, sender, &rule)), [false; 3]);
        assert_eq!(flow.inspection, Inspection::Strict as u8);
        assert!(support(&mut flow, I, &rule));
        assert_eq!((flow.inspection, flow.state), (Inspection::Bypass as u8, State::Bypass as u8));
        assert_eq!(flow.guard, bits::WATCHED | bits::PROVEN);
    }

    #[test]
    fn one_side_alone_proves_nothing_however_long() {
        let (mut flow, rule) = flow();
        assert!((0..100).all(|_| !support(&mut flow, I, &rule)));
        assert!(support(&mut flow, R, &rule));
    }

    #[test]
    fn a_segment_without_a_trailer_begins_the_run_anew() {
        let (mut flow, rule) = flow();
        let _ = [I, R, I].map(|sender| support(&mut flow, sender, &rule));
        interrupt(&mut flow);
        assert_eq!([I, R, I].map(|sender| support(&mut flow, sender, &rule)), [false; 3]);
        assert!(support(&mut flow, R, &rule));
    }

    #[test]
    fn a_proven_flow_falls_back_when_both_sides_oppose_and_not_before() {
        let (mut flow, rule) = flow();
        let _ = [I, R, I, R].map(|sender| support(&mut flow, sender, &rule));
        assert!((0..100).all(|_| !oppose(&mut flow, I, &rule)), "one side alone");
        support(&mut flow, R, &rule);
        assert_eq!([R, I, R].map(|sender| oppose(&mut flow, sender, &rule)), [false; 3]);
        assert!(oppose(&mut flow, I, &rule));
        assert_eq!((flow.inspection, flow.state, flow.guard), (Inspection::Strict as u8, State::Established as u8, bits::WATCHED));
    }

    #[test]
    fn a_change_of_policy_keeps_what_is_proven_only_under_the_same_guard() {
        let (mut flow, rule) = flow();
        let _ = [I, R, I, R].map(|sender| support(&mut flow, sender, &rule));
        assert_eq!(adopted_level(&mut flow, &rule, Inspection::Strict), Inspection::Bypass);
        let esp = Rule { flags: rule_flags::GUARD_ESP, ..rule };
        let mut other = flow;
        assert_eq!((adopted_level(&mut other, &esp, Inspection::Bypass), other.guard), (Inspection::Bypass, bits::WATCHED));
        assert_eq!((adopted_level(&mut flow, &Rule::default(), Inspection::Strict), flow.guard), (Inspection::Strict, 0));
    }
}
