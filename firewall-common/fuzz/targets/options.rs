//! See `firewall_common::testing::fuzz::options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| firewall_common::testing::fuzz::options::compare(input));
