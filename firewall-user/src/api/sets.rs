use serde::{Deserialize, Serialize};

use crate::session::Session;

/// A set, in `GET /v1/sets`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Set {
    pub name: String,
    /// Where the policy in force has it; null when it has no such set any more: its live members count again when it is back.
    pub file: Option<String>,
    pub line: Option<usize>,
    /// Elements that are written in the policy: addresses, prefixes, ranges and sets it names.
    pub written: usize,
    /// Prefixes that were added while it is in force.
    pub live: usize,
    /// Rules that use it, by itself or in another set.
    pub rules: Vec<String>,
}

/// `GET /v1/sets/NAME`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownSet {
    #[serde(flatten)]
    pub set: Set,
    /// What is written, in the policy's order, then the live ones by address.
    pub members: Vec<SetMember>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetMember {
    /// An address or a prefix; of what is written also a range, or `@` and the name of a set.
    pub address: String,
    /// It is not written in the policy.
    pub live: bool,
    /// Line it is written in; null for a live one.
    pub line: Option<usize>,
    /// When it was last added; null for what is written, as all that follows.
    pub since: Option<String>,
    /// Null: until it is removed.
    pub seconds_left: Option<u64>,
    /// Who added it; null also for the daemon itself.
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub because: Option<String>,
}

/// Body of `POST /v1/sets/NAME/add`, `…/remove`, `…/replace` and `…/clear`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// Addresses, prefixes and ranges; for `clear` none.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How long those that are added count; null: until they are removed.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub because: Option<String>,
    /// The SSH session the change is asked for in: it is refused when it would cut that.
    #[serde(default)]
    pub session: Option<Session>,
    /// Not even then.
    #[serde(default)]
    pub cut_session: bool,
}

/// A set was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetChanged {
    pub name: String,
    /// Prefixes that were no live members before.
    pub added: usize,
    /// Those that were, and now count for another time.
    pub extended: usize,
    pub removed: usize,
    /// Live members now.
    pub live: usize,
    /// Of the policy in force: live flows have been judged again when it rose.
    pub generation: u32,
    /// What else is to be known, such as members that count as they are written in the policy, too.
    pub notes: Vec<String>,
}
