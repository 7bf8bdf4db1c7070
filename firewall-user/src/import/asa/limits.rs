//! Limits of connections per class: the policy language has none yet, so all are listed.

use super::{left::List, lines::Line};

const LIMITS: [&str; 4] = ["conn-max", "embryonic-conn-max", "per-client-max", "per-client-embryonic-max"];

pub(super) fn is_limit(word: &str) -> bool {
    LIMITS.contains(&word)
}

/// Reads the limits of a line. One that is carried over some day is carried over here.
pub(super) fn read(line: &Line<'_>, list: &mut List) {
    let hint = "floods of SYNs do not reach established flows; limits of other kinds must be set where the connections end";
    list.once("limits", line, "limits of connections: a policy has none yet", hint);
}
