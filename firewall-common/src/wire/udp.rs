//! UDP header (RFC 768).

/// Bytes of a header.
pub const HEADER: u32 = 8;
