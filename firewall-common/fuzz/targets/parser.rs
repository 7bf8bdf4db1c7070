#![no_main]
use libfuzzer_sys::fuzz_target;
fuzz_target!(|data: &[u8]| { let _ = firewall_common::parse::parse(&data, false, &mut firewall_common::parse::Descriptor::EMPTY.clone()); });
