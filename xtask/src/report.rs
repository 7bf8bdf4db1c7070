//! What a traffic endpoint tells its parent: one JSON object per line on standard output.

use std::io::{self, Write, stdout};

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// A server listens.
    Ready,
    /// The handshake is complete; seconds count from here.
    Connected,
    Second(Second),
    Done(Totals),
}

/// One whole second. Units are datagrams for IPsec over TCP and bytes for TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// The first one is 1.
    pub second: u32,
    /// What this endpoint sent.
    pub sent: u64,
    /// What its application received from the other one.
    pub delivered: u64,
}

/// The whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub sent: u64,
    pub delivered: u64,
    /// Pieces received that were not what the other endpoint sent.
    pub damaged: u64,
}

impl Line {
    pub fn print(self) -> io::Result<()> {
        let text = serde_json::to_string(&self).map_err(io::Error::other)?;
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_flat_objects_with_their_event() {
        let line = Line::Second(Second { second: 3, sent: 400, delivered: 392 });
        let text = r#"{"event":"second","second":3,"sent":400,"delivered":392}"#;
        assert_eq!(serde_json::to_string(&line).expect("serializes"), text);
        assert_eq!(serde_json::from_str::<Line>(text).expect("parses"), line);
        assert_eq!(serde_json::from_str::<Line>(r#"{"event":"ready"}"#).expect("parses"), Line::Ready);
    }
}
