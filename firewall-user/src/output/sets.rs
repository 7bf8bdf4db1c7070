use super::{line, print, table};
use crate::{
    api::{Set, SetChanged, SetMember, ShownSet},
    policy::duration,
};

/// `weir set list`.
pub fn sets(sets: &[Set]) -> anyhow::Result<()> {
    if sets.is_empty() {
        return line("the policy in force has no sets");
    }
    let mut rows = table(&["SET", "WRITTEN", "LIVE", "PLACE", "RULES"], &[1, 2]);
    for set in sets {
        let rules = if set.rules.is_empty() { "-".to_owned() } else { set.rules.join(", ") };
        rows.add_row([set.name.clone(), set.written.to_string(), set.live.to_string(), place(set), rules]);
    }
    print(&rows)
}

fn place(set: &Set) -> String {
    match (&set.file, set.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => "not in the policy".to_owned(),
    }
}

/// `weir set list NAME`.
pub fn set(shown: &ShownSet) -> anyhow::Result<()> {
    let ShownSet { set, members } = shown;
    let rules = if set.rules.is_empty() { "no rule".to_owned() } else { format!("rules {}", set.rules.join(", ")) };
    line(&format!("set {}: {} written, {} live, in {}, used by {rules}", set.name, set.written, set.live, place(set)))?;
    if members.is_empty() {
        return Ok(());
    }
    line("")?;
    let mut rows = table(&["ADDRESS", "MEMBER", "LEFT", "SINCE", "BY", "BECAUSE"], &[2]);
    for member in members {
        let (kind, left) = if member.live { ("live".to_owned(), left(member.seconds_left)) } else { (written(member), "-".to_owned()) };
        let by = match (member.live, &member.user, member.uid) {
            (false, ..) => "-".to_owned(),
            (true, Some(user), _) => user.clone(),
            (true, None, Some(uid)) => uid.to_string(),
            (true, None, None) => "weir".to_owned(),
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.add_row([member.address.clone(), kind, left, or_none(&member.since), by, member.because.clone().unwrap_or_default()]);
    }
    print(&rows)
}

fn written(member: &SetMember) -> String {
    member.line.map_or_else(|| "written".to_owned(), |line| format!("line {line}"))
}

fn left(seconds: Option<u64>) -> String {
    match seconds {
        None => "no end".to_owned(),
        Some(0) => "0s".to_owned(),
        Some(seconds) => duration::print(u32::try_from(seconds.saturating_mul(1_000)).unwrap_or(u32::MAX / 1_000 * 1_000)),
    }
}

/// What `weir set add` and its like have done.
pub fn set_changed(changed: &SetChanged) -> anyhow::Result<()> {
    let SetChanged { name, added, extended, removed, live, generation, .. } = changed;
    let parts = [(*added, "added"), (*extended, "extended"), (*removed, "removed")];
    let told: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let told = if told.is_empty() { "nothing has changed".to_owned() } else { told.join(", ") };
    let members = if *live == 1 { "member" } else { "members" };
    line(&format!("{name}: {told}; {live} live {members}, generation {generation} is in force"))
}
