//! The controller is killed while traffic flows.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ALLOWED, DENIED};
use crate::test::{
    frame::{self, Port, Tcp},
    lab::Lab,
    load::Pump,
    network::{CLIENT_MAC, Family, LAN, OUTSIDE_MAC, WAN},
    stream::{Pair, joined},
};

const IDLE: usize = 20;
/// Bytes that must flow while no controller runs.
const WITHOUT: u64 = 16 << 20;
const BETWEEN_PROBES: Duration = Duration::from_micros(500);

pub fn killed(lab: &mut Lab) -> Result<String> {
    let listener = lab.listen(Family::V4, ALLOWED + 1)?;
    let idle = (0..IDLE).map(|_| lab.pair_with(&listener, Family::V4, ALLOWED + 1)).collect::<Result<Vec<Pair>>>()?;
    idle.iter().try_for_each(Pair::exchange)?;
    let mut pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    pump.flows_on(1 << 20)?;
    let flows_before = lab.flows(&["state=established"])?.len();
    ensure!(flows_before == IDLE + 1, "{flows_before} established flows instead of {}", IDLE + 1);

    let probe = Probe::open(lab)?;
    let over = AtomicBool::new(false);
    let (sent, without) = thread::scope(|scope| {
        let probing = scope.spawn(|| probe.run(&over));
        let result = crash(lab, &pump);
        over.store(true, Ordering::Relaxed);
        let sent = joined(probing.join())?;
        Ok::<_, anyhow::Error>((sent, result?))
    })?;

    ensure!(lab.weir.log().contains("adopted"), "weir's log does not say that it adopted anything");
    let status: Value = lab.weir.read("status", &[])?;
    ensure!(status["adopted"]["flows"].as_u64().is_some_and(|flows| flows > u64::try_from(IDLE).unwrap_or(0)), "status says {status}");
    let flows_after = lab.flows(&["state=established"])?.len();
    ensure!(flows_after == flows_before, "{flows_before} flows before, {flows_after} after");
    idle.iter().try_for_each(Pair::exchange).context("an idle connection did not outlive the controller")?;
    pump.flows_on(1 << 20)?;
    let bytes = pump.stop()?;
    let dropped = lab.only_drops("acl-drop", sent..=sent)?;
    Ok(format!("{} MiB, {without:.1?} without a controller, {dropped} probes denied, {flows_after} flows kept", bytes >> 20))
}

/// Kills the controller, sees traffic flow without it, and starts it again. Returns how long there was none.
fn crash(lab: &mut Lab, pump: &Pump) -> Result<Duration> {
    lab.weir.kill()?;
    let start = Instant::now();
    pump.flows_on(WITHOUT).context("while no controller ran")?;
    let without = start.elapsed();
    lab.weir.restart()?;
    pump.flows_on(1 << 20).context("after the adoption")?;
    Ok(without)
}

/// Tries a denied port without a pause, and sees whether anything comes through.
struct Probe {
    outside: Port,
    inside: Port,
    from: SocketAddr,
    to: SocketAddr,
}

impl Probe {
    fn open(lab: &Lab) -> Result<Self> {
        Ok(Self {
            outside: Port::open(&lab.network.client, WAN)?,
            inside: Port::open(lab.network.server(), LAN)?,
            from: SocketAddr::new(Family::V4.client(), 0),
            to: lab.network.server_address(Family::V4, DENIED),
        })
    }

    /// Returns how many were sent, none of which came through.
    fn run(&self, over: &AtomicBool) -> Result<u64> {
        let mut sent = 0_u64;
        thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(over));
            while !over.load(Ordering::Relaxed) {
                // Each from a port of its own, so that none is taken for the repetition of another.
                let port = u16::try_from(20_000 + sent % 40_000).unwrap_or(20_000);
                let source = SocketAddr::new(self.from.ip(), port);
                let syn = Tcp { source, destination: self.to, seq: 1, ack: 0, flags: "S", payload: Vec::new() };
                self.outside.send(&syn.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
                sent += 1;
                thread::sleep(BETWEEN_PROBES);
            }
            joined(watching.join())
        })?;
        Ok(sent)
    }

    fn watch(&self, over: &AtomicBool) -> Result<()> {
        let through = |frame: &[u8]| frame::tcp(frame).is_some_and(|segment| segment.destination == self.to);
        while !over.load(Ordering::Relaxed) {
            let frame = self.inside.next(Duration::from_millis(20))?;
            ensure!(!frame.as_deref().is_some_and(through), "a packet to a denied port came through");
        }
        Ok(())
    }
}
