//! Stages of the pipeline as global functions. The verifier checks such a function once, for any arguments, instead of once for every way
//! that leads to it; all of the path in one piece is more than the million instructions it will look at.
//!
//! Their arguments are the program's context and plain data. The verifier takes a pointer to data for one that may be null.

use core::ptr;

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, xdp_md},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    account::Outcome,
    application, event, evidence, fragment, guard,
    normalize::{self, check, edit},
    packet::Packet,
    parse::{self, Descriptor},
    pipeline::{self, Step},
    quality,
    reason::Reason,
    relate,
    visit::Visit,
    wire::quote,
};

use crate::{
    context::{SkbFrame, XdpFrame},
    env::Kernel,
};

/// No reason: the stage let the packet go on.
const GO_ON: u32 = 0;

/// A stage's answer as the pipeline wants it.
#[inline(always)]
pub fn result(status: u32) -> Result<(), Reason> {
    if status == GO_ON {
        return Ok(());
    }
    // A number that is no reason cannot come back; it would mean that nothing was checked.
    Err(Reason::from_number(status as u8).unwrap_or(Reason::FrameTooShort))
}

#[inline(always)]
fn status(result: Result<(), Reason>) -> u32 {
    match result {
        Ok(()) => GO_ON,
        Err(reason) => reason as u32,
    }
}

/// Stage *parse* of the XDP program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_xdp(context: *mut xdp_md, descriptor: *mut Descriptor) -> u32 {
    // SAFETY: the caller's descriptor or null.
    let Some(descriptor) = (unsafe { descriptor.as_mut() }) else { return Reason::FrameTooShort as u32 };
    status(parse::parse(&XdpFrame::new(&XdpContext::new(context)), false, descriptor))
}

/// Stage *parse* of the TC program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_skb(context: *mut __sk_buff, descriptor: *mut Descriptor) -> u32 {
    // SAFETY: the caller's descriptor or null.
    let Some(descriptor) = (unsafe { descriptor.as_mut() }) else { return Reason::FrameTooShort as u32 };
    status(parse::parse(&SkbFrame::new(&TcContext::new(context)), true, descriptor))
}

/// Reads the packet that an ICMP error quotes, for the XDP program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quote_xdp(context: *mut xdp_md, descriptor: *mut Descriptor) -> u32 {
    // SAFETY: the caller's descriptor or null.
    let Some(descriptor) = (unsafe { descriptor.as_mut() }) else { return Reason::FrameTooShort as u32 };
    status(quote::read(&XdpFrame::new(&XdpContext::new(context)), descriptor))
}

/// The same for the TC program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quote_skb(context: *mut __sk_buff, descriptor: *mut Descriptor) -> u32 {
    // SAFETY: the caller's descriptor or null.
    let Some(descriptor) = (unsafe { descriptor.as_mut() }) else { return Reason::FrameTooShort as u32 };
    status(quote::read(&SkbFrame::described(&TcContext::new(context)), descriptor))
}

/// The type of context a world is made for decides which of the functions below it calls.
pub trait Stages: EbpfContext {
    /// Index of the interface the packet came in by, or by which it leaves the box.
    fn interface(&self) -> u32;
    fn confirmed(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn unconfirmed(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn revalidate(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn related(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn first(&self, visit: &mut Visit, outcome: &mut Outcome);
    fn check(&self, visit: &mut Visit) -> Result<(), Reason>;
    fn guard(&self, visit: &mut Visit) -> Result<(), Reason>;
    fn teach_guard(&self, visit: &mut Visit);
    fn look(&self, visit: &mut Visit);
    fn learn(&self, visit: &mut Visit);
    fn remember(&self, visit: &Visit, last_ack: u32);
    fn observe(&self, visit: &mut Visit);
    fn rewrite(&self, visit: &mut Visit) -> Result<(), Reason>;
    fn first_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn later_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn follow_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step;
    fn remember_fragment(&self, visit: &mut Visit, outcome: &mut Outcome);
    fn report(&self, visit: &mut Visit, outcome: &mut Outcome);
    fn refused(&self, visit: &mut Visit, outcome: &mut Outcome);
}

/// One stage for one type of context: a global function around the pipeline's.
macro_rules! stage {
    ($name:ident, $context:ty, $raw:ty, $used:ident, $frame:ident, $stage:path) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(context: *mut $raw, visit: *mut Visit, outcome: *mut Outcome) -> u32 {
            // SAFETY: the caller's data or null.
            let (Some(visit), Some(outcome)) = (unsafe { (visit.as_mut(), outcome.as_mut()) }) else { return Step::Done as u32 };
            // Volatile: a stage that has no use for the context would otherwise be called with anything for it, and the verifier insists.
            // SAFETY: the verifier knows the context's fields.
            let _ = unsafe { ptr::read_volatile(&raw const (*context).$used) };
            let context = <$context>::new(context);
            $stage(&$frame::described(&context), &Kernel::new(&context), visit, outcome) as u32
        }
    };
}

/// A stage that only refuses, or a part of one, for one type of context. It tells a reason, or to go on.
macro_rules! refusing {
    ($name:ident, $context:ty, $raw:ty, $used:ident, $frame:ident, $part:path) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(context: *mut $raw, visit: *mut Visit) -> u32 {
            // SAFETY: the caller's data or null.
            let Some(visit) = (unsafe { visit.as_mut() }) else { return Reason::RewriteFailed as u32 };
            // SAFETY: the verifier knows the context's fields; volatile as above.
            let _ = unsafe { ptr::read_volatile(&raw const (*context).$used) };
            let context = <$context>::new(context);
            status($part(&$frame::described(&context), &Kernel::new(&context), visit))
        }
    };
}

/// [`guard::learn`] for one type of context.
macro_rules! teaching {
    ($name:ident, $context:ty, $raw:ty, $used:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(context: *mut $raw, visit: *mut Visit) -> u32 {
            // SAFETY: the caller's data or null.
            let Some(visit) = (unsafe { visit.as_mut() }) else { return GO_ON };
            // SAFETY: the verifier knows the context's fields; volatile as above.
            let _ = unsafe { ptr::read_volatile(&raw const (*context).$used) };
            let context = <$context>::new(context);
            guard::learn(&Kernel::new(&context), visit);
            GO_ON
        }
    };
}

/// [`normalize::remember`] for one type of context, which it has no use for.
macro_rules! remembering {
    ($name:ident, $context:ty, $raw:ty, $used:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(context: *mut $raw, visit: *mut Visit, last_ack: u32) -> u32 {
            // SAFETY: the caller's data or null.
            let Some(visit) = (unsafe { visit.as_ref() }) else { return GO_ON };
            // SAFETY: the verifier knows the context's fields; volatile as above.
            let _ = unsafe { ptr::read_volatile(&raw const (*context).$used) };
            let context = <$context>::new(context);
            normalize::remember(&Kernel::new(&context), visit, last_ack);
            GO_ON
        }
    };
}

/// [`quality::observe`] as the other parts are called: it finds no fault with any packet.
#[inline(always)]
fn observe<P: Packet, C: Stages>(packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit) -> Result<(), Reason> {
    quality::observe(packet, kernel, visit);
    Ok(())
}

/// [`application::look()`] as the other parts are called: it finds no fault with any packet.
#[inline(always)]
fn look<P: Packet, C: Stages>(packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit) -> Result<(), Reason> {
    application::look(packet, kernel, visit);
    Ok(())
}

/// [`application::learn()`], likewise.
#[inline(always)]
fn learn<P: Packet, C: Stages>(packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit) -> Result<(), Reason> {
    application::learn(packet, kernel, visit);
    Ok(())
}

/// A first packet is always settled, so its stage has no step to return.
#[inline(always)]
fn first<P: Packet, C: Stages>(packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    pipeline::first(packet, kernel, visit, outcome);
    Step::Done
}

/// An event changes nothing for its packet.
#[inline(always)]
fn report<P: Packet, C: Stages>(_packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    event::report::report(kernel, visit, outcome);
    Step::Done
}

/// Nor does what is remembered of its refusal.
#[inline(always)]
fn refused<P: Packet, C: Stages>(_packet: &P, kernel: &Kernel<'_, C>, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    evidence::note(kernel, visit, outcome);
    Step::Done
}

/// The stages that need state, and the events, for one type of context.
macro_rules! stages {
    (
        $context:ty, $raw:ty, $interface:ident, $used:ident, $frame:ident;
        $confirmed:ident, $unconfirmed:ident, $revalidate:ident, $related:ident, $first:ident;
        $first_fragment:ident, $later_fragment:ident, $follow_fragment:ident, $remember_fragment:ident;
        $check:ident, $look:ident, $learn:ident, $remember:ident, $observe:ident, $rewrite:ident, $report:ident, $refused:ident;
        $guard:ident, $teach_guard:ident
    ) => {
        stage!($confirmed, $context, $raw, $used, $frame, pipeline::confirmed);
        stage!($unconfirmed, $context, $raw, $used, $frame, pipeline::unconfirmed);
        stage!($revalidate, $context, $raw, $used, $frame, pipeline::revalidate);
        stage!($related, $context, $raw, $used, $frame, relate::related);
        stage!($first, $context, $raw, $used, $frame, first);
        stage!($first_fragment, $context, $raw, $used, $frame, fragment::stages::first);
        stage!($later_fragment, $context, $raw, $used, $frame, fragment::stages::later);
        stage!($follow_fragment, $context, $raw, $used, $frame, fragment::stages::follow);
        stage!($remember_fragment, $context, $raw, $used, $frame, fragment::stages::remember);
        refusing!($check, $context, $raw, $used, $frame, check::check);
        refusing!($look, $context, $raw, $used, $frame, look);
        refusing!($learn, $context, $raw, $used, $frame, learn);
        remembering!($remember, $context, $raw, $used);
        refusing!($observe, $context, $raw, $used, $frame, observe);
        refusing!($rewrite, $context, $raw, $used, $frame, edit::rewrite);
        stage!($report, $context, $raw, $used, $frame, report);
        stage!($refused, $context, $raw, $used, $frame, refused);
        refusing!($guard, $context, $raw, $used, $frame, guard::check);
        teaching!($teach_guard, $context, $raw, $used);

        impl Stages for $context {
            #[inline(always)]
            fn interface(&self) -> u32 {
                // SAFETY: the verifier knows the context's fields.
                unsafe { (*self.as_ptr().cast::<$raw>()).$interface }
            }

            #[inline(always)]
            fn confirmed(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($confirmed(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn unconfirmed(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($unconfirmed(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn revalidate(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($revalidate(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn related(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($related(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn first(&self, visit: &mut Visit, outcome: &mut Outcome) {
                let _ = $first(self.as_ptr().cast(), visit, outcome);
            }

            #[inline(always)]
            fn first_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($first_fragment(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn later_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($later_fragment(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn follow_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) -> Step {
                Step::from_number($follow_fragment(self.as_ptr().cast(), visit, outcome))
            }

            #[inline(always)]
            fn remember_fragment(&self, visit: &mut Visit, outcome: &mut Outcome) {
                let _ = $remember_fragment(self.as_ptr().cast(), visit, outcome);
            }

            #[inline(always)]
            fn check(&self, visit: &mut Visit) -> Result<(), Reason> {
                result($check(self.as_ptr().cast(), visit))
            }

            #[inline(always)]
            fn guard(&self, visit: &mut Visit) -> Result<(), Reason> {
                result($guard(self.as_ptr().cast(), visit))
            }

            #[inline(always)]
            fn teach_guard(&self, visit: &mut Visit) {
                let _ = $teach_guard(self.as_ptr().cast(), visit);
            }

            #[inline(always)]
            fn look(&self, visit: &mut Visit) {
                let _ = $look(self.as_ptr().cast(), visit);
            }

            #[inline(always)]
            fn learn(&self, visit: &mut Visit) {
                let _ = $learn(self.as_ptr().cast(), visit);
            }

            #[inline(always)]
            fn remember(&self, visit: &Visit, last_ack: u32) {
                let _ = $remember(self.as_ptr().cast(), ptr::from_ref(visit).cast_mut(), last_ack);
            }

            #[inline(always)]
            fn observe(&self, visit: &mut Visit) {
                let _ = $observe(self.as_ptr().cast(), visit);
            }

            #[inline(always)]
            fn rewrite(&self, visit: &mut Visit) -> Result<(), Reason> {
                result($rewrite(self.as_ptr().cast(), visit))
            }

            #[inline(always)]
            fn report(&self, visit: &mut Visit, outcome: &mut Outcome) {
                let _ = $report(self.as_ptr().cast(), visit, outcome);
            }

            #[inline(always)]
            fn refused(&self, visit: &mut Visit, outcome: &mut Outcome) {
                let _ = $refused(self.as_ptr().cast(), visit, outcome);
            }
        }
    };
}

stages!(
    XdpContext, xdp_md, ingress_ifindex, data, XdpFrame;
    confirmed_xdp, unconfirmed_xdp, revalidate_xdp, related_xdp, first_xdp;
    first_fragment_xdp, later_fragment_xdp, follow_fragment_xdp, remember_fragment_xdp;
    check_xdp, look_xdp, learn_xdp, remember_xdp, observe_xdp, rewrite_xdp, report_xdp, refused_xdp;
    guard_xdp, teach_guard_xdp
);
stages!(
    TcContext, __sk_buff, ifindex, len, SkbFrame;
    confirmed_skb, unconfirmed_skb, revalidate_skb, related_skb, first_skb;
    first_fragment_skb, later_fragment_skb, follow_fragment_skb, remember_fragment_skb;
    check_skb, look_skb, learn_skb, remember_skb, observe_skb, rewrite_skb, report_skb, refused_skb;
    guard_skb, teach_guard_skb
);
