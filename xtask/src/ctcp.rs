//! A pair of IPsec-over-TCP endpoints: packets that look like TCP, sent by something that is not.
//!
//! It shakes hands without options, then every segment is one datagram: an ESP packet and a trailer. Nothing is ever sent again, no
//! timer runs once the connection stands, nobody looks at the window, and it closes with a bare reset.

pub mod endpoint;
pub mod inject;
pub mod receiver;
mod wire;
