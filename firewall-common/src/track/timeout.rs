//! Which idle time a flow has: the only place where states meet durations.

use crate::{
    flow::{Flow, State, flow_flags},
    rule::Timeouts,
    wire::protocol,
};

/// The idle time in milliseconds of a TCP flow in this state, as a number, under inspection.
#[inline(always)]
#[must_use]
pub const fn of_state(state: u8, timeouts: &Timeouts) -> u32 {
    let Some(state) = State::from_number(state) else { return timeouts.embryonic };
    match state {
        State::Established => timeouts.established,
        State::FinWait | State::LastAck => timeouts.transitory,
        State::HalfClosed => timeouts.half_closed,
        State::TimeWait => timeouts.time_wait,
        State::Closed => timeouts.closed,
        _ => timeouts.embryonic,
    }
}

/// The idle time of `flow` in milliseconds, under its rule's times.
#[inline(always)]
#[must_use]
pub const fn of(flow: &Flow, protocol: u8, timeouts: &Timeouts) -> u32 {
    let Some(state) = State::from_number(flow.state) else { return timeouts.embryonic };
    match state {
        State::Bypass if flow.has(flow_flags::CLOSING) => timeouts.bypass_closing,
        State::Bypass => timeouts.bypass,
        State::Single | State::Stream => stateless(protocol, matches!(state, State::Stream), timeouts),
        _ => of_state(state as u8, timeouts),
    }
}

#[inline(always)]
const fn stateless(protocol: u8, replied: bool, timeouts: &Timeouts) -> u32 {
    match protocol {
        protocol::UDP | protocol::UDP_LITE if replied => timeouts.udp_stream,
        protocol::UDP | protocol::UDP_LITE => timeouts.udp_single,
        protocol::ICMP | protocol::ICMPV6 => timeouts.icmp,
        _ => timeouts.other,
    }
}
