use std::path::Path;

use serde::Serialize;

use crate::{
    import::asa::{Imported, Left},
    policy::{Diagnostic, Warning},
};

/// What `weir policy import` made of a configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedPolicy {
    pub source: String,
    /// Whether the policy passes `weir policy check`.
    pub valid: bool,
    pub rules: usize,
    pub zones: Vec<String>,
    /// The whole policy as one file.
    pub policy: String,
    /// Files that were written.
    pub written: Vec<String>,
    pub warnings: Vec<Warning>,
    pub errors: Vec<Diagnostic>,
    pub not_carried_over: Vec<NotCarriedOver>,
}

/// A line, or several of a kind, that the policy does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCarriedOver {
    pub kind: String,
    pub file: String,
    /// The first line, from 1; null for the configuration as a whole.
    pub line: Option<usize>,
    pub text: Option<String>,
    /// Every line it is about.
    pub lines: Vec<usize>,
    pub reason: String,
    pub hint: String,
}

impl NotCarriedOver {
    fn new(file: &Path, left: &Left) -> Self {
        let whole = left.line == 0;
        Self {
            kind: left.kind.to_owned(),
            file: file.display().to_string(),
            line: (!whole).then_some(left.line),
            text: (!whole).then(|| left.text.clone()),
            lines: left.lines.clone(),
            reason: left.reason.clone(),
            hint: left.hint.clone(),
        }
    }

    #[must_use]
    pub fn all(file: &Path, imported: &Imported) -> Vec<Self> {
        imported.left.iter().map(|left| Self::new(file, left)).collect()
    }
}
