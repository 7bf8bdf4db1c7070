use super::{line, print, table};
use crate::api::HistoryEntry;

/// `weir policy history`.
pub fn history(entries: &[HistoryEntry]) -> anyhow::Result<()> {
    if entries.is_empty() {
        return line("no policy has been applied");
    }
    let mut rows = table(&["NUMBER", "TIME", "BY", "HOW", "RULES", "STATE", "PATH", "CHANGED"], &[0, 4]);
    for entry in entries {
        let by = match (&entry.user, entry.uid) {
            (Some(user), _) => user.clone(),
            (None, Some(uid)) => uid.to_string(),
            (None, None) => "-".to_owned(),
        };
        rows.add_row([
            entry.number.to_string(),
            entry.time.clone(),
            by,
            entry.how.name().to_owned(),
            entry.rules.to_string(),
            entry.state.name().to_owned(),
            entry.path.clone(),
            entry.summary.clone(),
        ]);
    }
    print(&rows)
}
