//! Bursts of one packet through PROG_TEST_RUN, while something else changes what becomes of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aya::{TestRun as _, TestRunOptions, programs::Xdp};
use firewall_user::dataplane::Maps;

/// Packets of one test run: few enough that a change of policy need not wait long for them.
const BURST: u32 = 2_000;
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;

/// Runs bursts of a frame until told to stop. The last packet of every burst must have this verdict, if it is known; the counters tell of all
/// others.
pub fn send(program: &Xdp, frame: &[u8], verdict: Option<u32>, stop: &AtomicBool, sent: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let options = TestRunOptions { data_in: Some(frame), repeat: BURST, ..TestRunOptions::new() };
        let result = program.test_run(options).expect("the packets can be run");
        assert!(verdict.is_none_or(|verdict| result.return_value == verdict), "{}", result.return_value);
        sent.fetch_add(u64::from(BURST), Ordering::Relaxed);
    }
}

/// First packets a rule has decided.
pub fn hits(maps: &Maps, rule: u16) -> u64 {
    maps.rule_counters(rule).expect("the counters can be read").hits
}
