//! The group `weir`: its members may talk to the daemon without being root.

use std::fs;

/// Name of the group.
const NAME: &str = "weir";

/// Number of the group `weir`, when there is one.
///
/// Only `/etc/group` is asked: a daemon's own group is a system group, and looking further could wait for a network that this very
/// daemon has yet to open.
#[must_use]
pub fn weir() -> Option<u32> {
    number(&fs::read_to_string("/etc/group").ok()?)
}

fn number(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(NAME) {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        assert_eq!(number("root:x:0:\nweird:x:5:\nweir:x:997:ada,bob\n"), Some(997));
        assert_eq!(number("root:x:0:\nweird:x:5:\n"), None);
        assert_eq!(number("weir:x\n"), None);
    }
}
