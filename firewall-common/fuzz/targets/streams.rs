//! See `firewall_common::testing::fuzz::streams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| firewall_common::testing::fuzz::streams::play(input));
