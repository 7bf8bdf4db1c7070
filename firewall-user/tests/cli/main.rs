//! `weir` as a person runs it, against the kernel: starting, crashing, adopting, refusing. Needs root; the network used is in namespaces
//! that each test makes and removes.

mod changes;
mod editing;
mod events;
mod lab;
mod lifetime;
mod limits;
mod refusals;
mod typed;
mod verbs;
mod watching;
