//! How connections begin and end.

use std::{
    io::{ErrorKind, Read},
    net::Shutdown,
};

use anyhow::{Result, bail, ensure};

use super::ALLOWED;
use crate::test::{
    lab::{Lab, wait_for},
    network::{Family, waited},
    stream::{ended, transfer},
};

const CONNECTIONS: usize = 200;

pub fn short(lab: &mut Lab) -> Result<String> {
    let listener = lab.listen(Family::V4, ALLOWED)?;
    for _ in 0..CONNECTIONS {
        let pair = lab.pair_with(&listener, Family::V4, ALLOWED)?;
        pair.exchange()?;
        pair.close()?;
    }
    let mut waiting = 0;
    wait_for("every flow in time-wait", || {
        waiting = lab.flows(&["port=7000", "state=time-wait"])?.len();
        Ok(waiting == CONNECTIONS)
    })?;
    lab.no_drops()?;
    Ok(format!("{waiting} flows in time-wait"))
}

pub fn half_close(lab: &mut Lab) -> Result<String> {
    let mut pair = lab.pair(Family::V4, ALLOWED)?;
    transfer(&pair.client, &pair.server, 1 << 20, 5)?;
    pair.client.shutdown(Shutdown::Write)?;
    ended(&mut pair.server)?;
    lab.flow_becomes(&["port=7000"], "half-closed")?;
    transfer(&pair.server, &pair.client, 8 << 20, 6)?;
    lab.flow_becomes(&["port=7000"], "half-closed")?;
    pair.server.shutdown(Shutdown::Write)?;
    ended(&mut pair.client)?;
    lab.flow_becomes(&["port=7000"], "time-wait")?;
    lab.no_drops()?;
    Ok("8 MiB after the client's FIN".to_owned())
}

pub fn reset(lab: &mut Lab) -> Result<String> {
    let pair = lab.pair(Family::V4, ALLOWED)?;
    pair.exchange()?;
    let mut server = pair.reset()?;
    match waited(|| server.read(&mut [0; 1])) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => bail!("the server saw {other:?} instead of a reset"),
    }
    let flow = lab.flow(&["port=7000"])?;
    ensure!(flow.state == "closed", "the flow is {}", flow.state);
    lab.no_drops()?;
    Ok("closed".to_owned())
}
