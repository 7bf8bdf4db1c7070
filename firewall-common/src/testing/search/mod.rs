//! A search through everything a short sequence of packets can do to one flow: breadth first, so that what it finds is found by the
//! shortest way, and each state is looked at once.
//!
//! [`anything`] lets both sides send anything and asks whether the record keeps to the rules. [`pair`] puts two endpoints beside the
//! record and an attacker on one side, and asks whether the endpoints could tell that there is a firewall. [`broken`] has firewalls that
//! the two must not find good.

pub mod anything;
pub mod broken;
pub mod firewall;
pub mod letters;
pub mod pair;
pub mod peer;
pub mod rules;

use std::{
    collections::HashSet,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use crate::{
    flow::NO_SCALE,
    seq::Seq,
    testing::script::Side,
    wire::tcp::{Segment, flags},
};

/// First numbers of client and server; the client's wraps in the middle of its first data.
pub const FIRST: [u32; 2] = [u32::MAX - 4, 0x6000_0000];

/// What is searched.
pub trait Model {
    type State: Clone;
    type Move: Copy;

    fn start(&mut self) -> Self::State;
    /// What tells two states apart.
    fn digest(&self, state: &Self::State) -> impl Hash;
    fn moves(&self, state: &Self::State) -> Vec<Self::Move>;
    /// The state a move leads to; none when that is not worth looking at.
    ///
    /// # Errors
    /// Which property the move breaks.
    fn step(&mut self, state: &Self::State, by: &Self::Move) -> Result<Option<Self::State>, String>;
    /// The move as a line of a packet script, and what came of it.
    fn line(&mut self, state: &Self::State, by: &Self::Move) -> String;
    /// Properties of the search as a whole.
    ///
    /// # Errors
    /// Which of them does not hold.
    fn conclude(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// How far a search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub depth: usize,
    pub states: usize,
    pub moves: usize,
    /// Nothing was left to look at.
    pub complete: bool,
}

impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.complete { ", and there are no others" } else { "" };
        write!(formatter, "{} moves from {} states, up to {} packets one after another{end}", self.moves, self.states, self.depth)
    }
}

/// Looks at everything that up to `depth` moves lead to.
///
/// # Errors
/// The first property broken, with the shortest packet script that breaks it.
pub fn search<M: Model>(model: &mut M, depth: usize) -> Result<Report, String> {
    let start = model.start();
    let mut seen = HashSet::from([digest(model, &start)]);
    // How each state was reached: from which one, by which move.
    let mut ways: Vec<Option<(usize, M::Move)>> = vec![None];
    let mut frontier = vec![(0, start)];
    let mut report = Report { depth: 0, states: 1, moves: 0, complete: false };
    while report.depth < depth && !frontier.is_empty() {
        report.depth += 1;
        let mut next = Vec::new();
        for (place, state) in &frontier {
            for by in model.moves(state) {
                report.moves += 1;
                match model.step(state, &by) {
                    Ok(None) => {}
                    Ok(Some(after)) => {
                        if seen.insert(digest(model, &after)) {
                            ways.push(Some((*place, by)));
                            next.push((ways.len() - 1, after));
                        }
                    }
                    Err(broken) => return Err(script(model, &ways, *place, &by, &broken)),
                }
            }
        }
        report.states += next.len();
        frontier = next;
    }
    report.complete = frontier.is_empty();
    model.conclude()?;
    Ok(report)
}

fn digest<M: Model>(model: &M, state: &M::State) -> u64 {
    let mut hasher = DefaultHasher::new();
    model.digest(state).hash(&mut hasher);
    hasher.finish()
}

/// The way to a broken property, in the language of [`crate::testing::script`].
fn script<M: Model>(model: &mut M, ways: &[Option<(usize, M::Move)>], mut place: usize, last: &M::Move, broken: &str) -> String {
    let mut moves = vec![*last];
    while let Some((before, by)) = ways[place] {
        moves.push(by);
        place = before;
    }
    let mut text = format!("{broken}\n");
    let mut state = model.start();
    for by in moves.iter().rev() {
        let _ = writeln!(text, "    {}", model.line(&state, by));
        if let Ok(Some(after)) = model.step(&state, by) {
            state = after;
        }
    }
    text
}

/// A segment in the language of scripts.
fn packet_line(side: Side, segment: &Segment) -> String {
    let own = usize::from(side == Side::Server);
    let mut text = format!("{}:", if own == 0 { "C" } else { "S" });
    let letters = [('S', flags::SYN), ('F', flags::FIN), ('R', flags::RST), ('P', flags::PSH), ('A', flags::ACK), ('U', flags::URG)];
    let before = text.len();
    text.extend(letters.iter().filter(|(_, flag)| segment.has(*flag)).map(|(letter, _)| *letter));
    if text.len() == before {
        text.push('-');
    }
    let relative = |number: Seq, first: u32| number.distance(Seq(first)).to_string();
    // A reset that answers a SYN has the bare number 0.
    let seq = if own == 1 && segment.seq == Seq(0) { "=0".to_owned() } else { relative(segment.seq, FIRST[own]) };
    let _ = write!(text, " {seq}");
    if segment.has(flags::ACK) {
        let _ = write!(text, "/{}", relative(segment.ack, FIRST[1 - own]));
    }
    if segment.length > 0 {
        let _ = write!(text, " +{}", segment.length);
    }
    let _ = write!(text, " win={}", segment.window);
    if segment.scale != NO_SCALE {
        let _ = write!(text, " ws={}", segment.scale);
    }
    text
}
