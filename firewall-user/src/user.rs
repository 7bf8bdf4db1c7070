//! Names of users, for those who ask who it was.

use std::fs;

/// The name of a user. As for [groups](crate::group), only the file is asked.
#[must_use]
pub fn name(uid: u32) -> Option<String> {
    find(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn find(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
        assert_eq!(find(users, 1000).as_deref(), Some("ada"));
        assert_eq!(find(users, 10), None);
    }
}
