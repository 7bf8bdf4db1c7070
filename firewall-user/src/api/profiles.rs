use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{Normalizer, Policy, Setting, built_in_normalizers};

/// An element of `GET /v1/policy/profiles`: a normalizer profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    /// The profile it is made from; null for a built-in one.
    pub base: Option<String>,
    /// Names of the enabled rules that have it.
    pub rules: Vec<String>,
    /// Every knob by its key in the policy, with what is in effect: a boolean, a word, bytes or null for no limit, and for `tcp-options` the
    /// options that do not just pass.
    pub settings: BTreeMap<String, Value>,
}

impl Profile {
    /// The profiles of a policy, the built-in ones first; without a policy just those.
    #[must_use]
    pub fn all(policy: Option<&Policy>) -> Vec<Self> {
        let Some(policy) = policy else {
            return built_in_normalizers().iter().map(|normalizer| Self::new(normalizer, Vec::new())).collect();
        };
        let rules = |name: &str| {
            let having = policy.rules().iter().filter(|rule| rule.enabled && rule.normalizer.as_deref() == Some(name));
            having.map(|rule| rule.name.clone()).collect()
        };
        policy.normalizers().iter().map(|normalizer| Self::new(normalizer, rules(&normalizer.name))).collect()
    }

    fn new(normalizer: &Normalizer, rules: Vec<String>) -> Self {
        let settings = normalizer.settings().map(|(key, setting)| (key.to_owned(), value(setting))).collect();
        Self { name: normalizer.name.clone(), base: normalizer.base.clone(), rules, settings }
    }
}

fn value(setting: Setting) -> Value {
    match setting {
        Setting::Switch(on) => on.into(),
        Setting::Word(word) => word.into(),
        Setting::Limit(bytes) => bytes.into(),
        Setting::Options(options) => options.into_iter().map(|(kinds, action)| (kinds, Value::from(action))).collect(),
    }
}
