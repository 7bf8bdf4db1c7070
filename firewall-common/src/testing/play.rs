//! Plays a script against a firewall: the pipeline on the host or the object in the kernel, whichever stands behind [`Subject`].

mod check;
mod frames;
mod policies;
mod subject;

pub(super) use self::check::without_notes;
pub use self::subject::Subject;
use self::{check::check, frames::frame, policies::policy};
use crate::{
    env::Arrival,
    flow::Inspection,
    reason::Reason,
    testing::{
        builder::hex,
        cases::Case,
        host::Family,
        script::{self, Expect, Line, Step},
    },
    verdict::Verdict,
};

/// The client's and others' packets come in by this.
pub const FROM_CLIENT: Arrival = Arrival { zone: 1, place: 1, egress: false };
/// The server is the box itself: its packets leave by the same interface.
pub const FROM_SERVER: Arrival = Arrival { zone: 1, place: 1, egress: true };

/// Ports and first numbers of one connection.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    ports: [u16; 2],
    first: [u32; 2],
}

impl Conversation {
    fn new(random: &mut fastrand::Rng) -> Self {
        // A first number in four is just below the wrap.
        let mut first = || if random.u8(..4) == 0 { u32::MAX - random.u32(..5000) } else { random.u32(..) };
        let first = [first(), first()];
        Self { ports: [random.u16(1024..), random.u16(1024..)], first }
    }
}

const LEVELS: [Inspection; 3] = [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant];

/// Plays a case under one inspection level.
///
/// # Errors
/// The first line whose packet fared otherwise than expected, with the packet.
pub fn play(case: &Case, level: Inspection, family: Family, seed: u64, subject: &mut impl Subject) -> Result<usize, String> {
    let column = LEVELS.iter().position(|candidate| *candidate == level).unwrap_or(0);
    let mut sent = 0;
    each(case, level, family, seed, subject, |subject, turn| {
        let complaint = check(subject, turn.frame, turn.arrival, &turn.expect[column], turn.becomes);
        complaint.map_err(|complaint| report(case, level, family, seed, turn.line, turn.frame, &complaint))?;
        sent += 1;
        Ok(())
    })?;
    Ok(sent)
}

/// What became of one packet of a case.
#[derive(Clone, Debug)]
pub struct Fared {
    pub line: String,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    /// Why strict inspection would have dropped it, where it was counted as needed.
    pub needed: Option<Reason>,
}

/// Plays a case under one inspection level and tells what became of each packet, whatever was expected.
///
/// # Errors
/// A script that cannot be read.
pub fn fare(case: &Case, level: Inspection, family: Family, seed: u64, subject: &mut impl Subject) -> Result<Vec<Fared>, String> {
    let mut fared = Vec::new();
    each(case, level, family, seed, subject, |subject, turn| {
        let before = subject.rule_counters().needed;
        let verdict = subject.judge(turn.frame, turn.arrival);
        let needed = needed_since(subject, before);
        fared.push(Fared { line: turn.line.text.clone(), frame: turn.frame.to_vec(), verdict, needed });
        Ok(())
    })?;
    Ok(fared)
}

/// Why the last packet was needed, when there were so many needed ones before it.
fn needed_since(subject: &mut impl Subject, before: u64) -> Option<Reason> {
    let counters = subject.rule_counters();
    if counters.needed == before { None } else { u8::try_from(counters.needed_for).ok().and_then(Reason::from_number) }
}

/// One packet's turn.
struct Turn<'a> {
    line: &'a Line,
    frame: &'a [u8],
    arrival: Arrival,
    expect: &'a [Expect; 3],
    becomes: &'a [u8],
}

fn each<S: Subject>(
    case: &Case,
    level: Inspection,
    family: Family,
    seed: u64,
    subject: &mut S,
    mut send: impl FnMut(&mut S, &Turn<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let lines = script::parse(case.script).map_err(|why| format!("{}: {why}", case.id))?;
    let mut conversation = Conversation::new(&mut random);
    subject.clear();
    subject.load(&policy(level.name(), level)?);
    subject.set_flags(0);
    for line in &lines {
        match &line.step {
            Step::Wait(time) => subject.advance(*time),
            Step::Policy(name) => subject.load(&policy(name, level)?),
            Step::Forget => {
                subject.clear();
                conversation = Conversation::new(&mut random);
            }
            Step::Flags(flags) => subject.set_flags(*flags),
            Step::Far => conversation.first = [0x5000_0000, 0x6000_0000],
            Step::Send { packet, expect, becomes } => {
                let (frame, arrival) = frame(packet, family, &conversation);
                let becomes = becomes.as_ref().map(|packet| frames::frame(packet, family, &conversation).0);
                let becomes = becomes.as_ref().unwrap_or(&frame);
                send(subject, &Turn { line, frame: &frame, arrival, expect, becomes })?;
            }
        }
    }
    Ok(())
}

fn report(case: &Case, level: Inspection, family: Family, seed: u64, line: &Line, frame: &[u8], complaint: &str) -> String {
    format!("{} ({}, {family:?}, seed {seed}): {}\n    {complaint}\n    packet {}", case.id, level.name(), line.text, hex(frame))
}
