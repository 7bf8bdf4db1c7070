//! Streams of mutated traffic.
