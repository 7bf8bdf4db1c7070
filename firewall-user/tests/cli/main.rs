//! `weir` as a person runs it, against the kernel: starting, crashing, adopting, refusing. Needs root; the network used is in namespaces
//! that each test makes and removes.

mod advise;
mod bypass;
mod changes;
mod editing;
mod events;
mod lab;
mod lifetime;
mod limits;
mod one_sided;
mod refusals;
mod sets;
mod tables;
mod trace;
mod trace_captures;
mod typed;
mod verbs;
mod watching;
