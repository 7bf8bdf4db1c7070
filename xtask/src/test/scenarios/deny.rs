//! What the policy does not allow.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use super::{DENIED, REJECTED};
use crate::test::{
    lab::Lab,
    network::{Family, WAN, waited},
    receiver::Receiver,
    stream::accept_within,
};

/// Long enough for a SYN and its repetition.
const LONG: Duration = Duration::from_millis(1500);
const SOON: Duration = Duration::from_secs(1);

pub fn denied(lab: &mut Lab) -> Result<String> {
    for family in Family::BOTH {
        let listener = lab.listen(family, DENIED)?;
        match lab.connect(family, DENIED, LONG) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => bail!("over {family:?} the client was told something: {error}"),
            Ok(_) => bail!("a connection to a denied port came about over {family:?}"),
        }
        ensure!(accept_within(&listener, Duration::ZERO)?.is_none(), "the server accepted a connection to a denied port");
    }
    let dropped = lab.only_drops("acl-drop", 2..=10)?;
    ensure!(lab.flows(&["port=7300"])?.is_empty(), "a denied packet left a flow");
    Ok(format!("{dropped} × acl-drop"))
}

pub fn rejected(lab: &mut Lab) -> Result<String> {
    let _receiver = Receiver::attach(&lab.network.client, WAN)?;
    let mut slowest = Duration::ZERO;
    for family in Family::BOTH {
        let listener = lab.listen(family, REJECTED)?;
        let start = Instant::now();
        match lab.connect(family, REJECTED, 2 * LONG) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => bail!("over {family:?} TCP was not refused but saw: {error}"),
            Ok(_) => bail!("a connection to a rejected port came about over {family:?}"),
        }
        slowest = slowest.max(start.elapsed());
        ensure!(accept_within(&listener, Duration::ZERO)?.is_none(), "the server accepted a connection to a rejected port");
        let (client, _server) = lab.udp(family, REJECTED)?;
        let start = Instant::now();
        client.send(b"refuse me")?;
        match waited(|| client.recv(&mut [0; 10])) {
            // What Linux makes of "administratively prohibited", in ICMP and in ICMPv6.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::EACCES)) => {}
            other => bail!("over {family:?} UDP was not refused but saw {other:?}"),
        }
        slowest = slowest.max(start.elapsed());
    }
    ensure!(slowest < SOON, "a refusal took {slowest:?}");
    let dropped = lab.only_drops("rejected", 4..=4)?;
    Ok(format!("{dropped} refusals, the slowest after {slowest:.1?}"))
}
