use serde_json::Value;

use super::{print, table};
use crate::api::Profile;

/// `weir policy profiles`: a line for each knob, a column for each profile.
pub fn profiles(profiles: &[Profile]) -> anyhow::Result<()> {
    let names = profiles.iter().map(|profile| profile.name.as_str());
    let header: Vec<&str> = std::iter::once("KNOB").chain(names).collect();
    let mut rows = table(&header, &[]);
    let mut row = |key: &str, cell: &dyn Fn(&Profile) -> String| {
        rows.add_row(std::iter::once(key.to_owned()).chain(profiles.iter().map(cell)));
    };
    row("base", &|profile| profile.base.clone().unwrap_or_else(|| "(built in)".to_owned()));
    for key in profiles.iter().take(1).flat_map(|profile| profile.settings.keys()) {
        row(key, &|profile| profile.settings.get(key).map_or_else(String::new, cell));
    }
    row("(rules)", &|profile| profile.rules.len().to_string());
    print(&rows)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(word) => word.clone(),
        Value::Object(options) if options.is_empty() => "allow".to_owned(),
        Value::Object(options) => {
            // Names first, then numbers and ranges as numbers are ordered.
            let first = |kinds: &str| kinds.split('-').next().and_then(|number| number.parse::<u8>().ok());
            let mut lines: Vec<_> = options.iter().collect();
            lines.sort_by_key(|(kinds, _)| first(kinds));
            let line = |(kinds, action): (&String, &Value)| format!("{kinds} {}", action.as_str().unwrap_or_default());
            lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
