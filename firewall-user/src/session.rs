//! The SSH session a verb is typed in: a policy that would cut it must not come in force unasked.

use std::{env, fmt, fs, net::IpAddr};

use serde::{Deserialize, Serialize};

/// What `sshd` tells its children of the connection they serve.
const VARIABLE: &str = "SSH_CONNECTION";
/// Ancestors that are asked: more than any chain of shells, and `sudo` among them, is long.
const MOST_ANCESTORS: usize = 32;

/// The connection of an SSH session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub client: IpAddr,
    pub client_port: u16,
    pub server: IpAddr,
    pub server_port: u16,
}

impl Session {
    /// The session this process is in. `sudo` and `su` clear the variable, so the process's ancestors are asked too.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        if let Ok(text) = env::var(VARIABLE) {
            return Self::parse(&text);
        }
        let mut process = std::os::unix::process::parent_id();
        for _ in 0..MOST_ANCESTORS {
            if process <= 1 {
                return None;
            }
            if let Some(text) = variable_of(process) {
                return Self::parse(&text);
            }
            process = parent_of(process)?;
        }
        None
    }

    /// Client, its port, server, its port; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let mut next = || fields.next();
        // A link-local address comes with its interface.
        let address = |text: &str| text.split('%').next()?.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let session = Self {
            client: address(next()?)?,
            client_port: next()?.parse().ok()?,
            server: address(next()?)?,
            server_port: next()?.parse().ok()?,
        };
        (fields.next().is_none() && session.client.is_ipv4() == session.server.is_ipv4()).then_some(session)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: u16| std::net::SocketAddr::new(address, port);
        write!(f, "{} > {}", end(self.client, self.client_port), end(self.server, self.server_port))
    }
}

fn variable_of(process: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

fn parent_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fields_name_a_connection() {
        let session = Session::parse("203.0.113.9 51514 198.51.100.1 22").expect("a session");
        assert_eq!(session.to_string(), "203.0.113.9:51514 > 198.51.100.1:22");
        let session = Session::parse("fe80::1%eth0 1 fe80::2%eth0 22").expect("a session");
        assert_eq!(session.to_string(), "[fe80::1]:1 > [fe80::2]:22");
        let mapped = Session::parse("::ffff:203.0.113.9 1 198.51.100.1 22").expect("a session");
        assert!(mapped.client.is_ipv4());
        for text in
            ["", "203.0.113.9 51514 198.51.100.1", "a b c d", "1.1.1.1 1 ::1 22", "1.1.1.1 1 1.1.1.2 22 x", "1.1.1.1 70000 1.1.1.2 22"]
        {
            assert_eq!(Session::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_parent_of_a_process_is_found() {
        assert_eq!(parent_of(std::process::id()), Some(std::os::unix::process::parent_id()));
    }
}
