//! The end of an idle flow.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use super::SHORT_LIVED;
use crate::test::{
    lab::{Lab, wait_for},
    network::{Family, waited},
};

pub fn idle(lab: &mut Lab) -> Result<String> {
    let mut pair = lab.pair(Family::V4, SHORT_LIVED)?;
    pair.exchange()?;
    ensure!(lab.flow(&["port=7100"])?.state == "established", "the flow is not established");
    lab.no_drops()?;
    wait_for("the flow gone after its second", || Ok(lab.flows(&["port=7100"])?.is_empty()))?;
    pair.client.write_all(b"too late")?;
    wait_for("the late packet counted as tcp-not-syn", || Ok(lab.drops()?.contains_key("tcp-not-syn")))?;
    pair.server.set_read_timeout(Some(Duration::from_millis(300)))?;
    match waited(|| pair.server.read(&mut [0; 10])) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => bail!("the server saw {other:?} although the flow was over"),
    }
    let dropped = lab.only_drops("tcp-not-syn", 1..=20)?;
    Ok(format!("{dropped} × tcp-not-syn"))
}
