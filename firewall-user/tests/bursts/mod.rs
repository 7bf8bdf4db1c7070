//! Bursts of one packet through PROG_TEST_RUN, while something else changes what becomes of them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use aya::{TestRun as _, TestRunOptions, programs::Xdp};
use firewall_user::dataplane::Maps;

/// Packets of one test run: few enough that a change of policy need not wait long for them.
const BURST: u32 = 2_000;
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;

/// What has been sent of one frame.
#[derive(Debug, Default)]
pub struct Sent {
    packets: AtomicU64,
    /// The verdicts that bursts have ended with: a bit for each.
    ended: AtomicU32,
}

impl Sent {
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// True when the last packets of all bursts had these verdicts, and every one of these was met.
    pub fn ended_with(&self, verdicts: &[u32]) -> bool {
        self.ended.load(Ordering::Relaxed) == verdicts.iter().fold(0, |bits, verdict| bits | 1 << verdict)
    }
}

/// Runs bursts of a frame until told to stop. Notes the verdict of each burst's last packet; the counters tell of all others.
pub fn send(program: &Xdp, frame: &[u8], stop: &AtomicBool, sent: &Sent) {
    while !stop.load(Ordering::Relaxed) {
        let options = TestRunOptions { data_in: Some(frame), repeat: BURST, ..TestRunOptions::new() };
        let result = program.test_run(options).expect("the packets can be run");
        sent.packets.fetch_add(u64::from(BURST), Ordering::Relaxed);
        sent.ended.fetch_or(1 << result.return_value, Ordering::Relaxed);
    }
}

/// First packets a rule has decided.
pub fn hits(maps: &Maps, rule: u16) -> u64 {
    maps.rule_counters(rule).expect("the counters can be read").hits
}
