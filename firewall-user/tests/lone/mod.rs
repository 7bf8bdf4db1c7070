//! The dataplane in the kernel and attached nowhere, for packets through PROG_TEST_RUN while its maps change.

use std::{fs, process::id};

use aya::programs::Xdp;
use firewall_common::{abi::program, config::Interface};
use firewall_user::{
    dataplane::{Dataplane, Options, Pins, Sizes, detach_all},
    instance::Instance,
};

/// PROG_TEST_RUN's frames come in by the loopback device.
const LOOPBACK: u32 = 1;

/// A dataplane that is attached nowhere, and gone at the end.
pub struct Lone {
    pub dataplane: Dataplane,
    pins: Pins,
}

impl Lone {
    /// `name` is one of this test alone.
    pub fn start(name: &str) -> Self {
        let instance: Instance = format!("{name}-{}", id()).parse().expect("a name");
        let sizes = Sizes { established: 1_024, embryonic: 1_024 };
        let options = Options { sizes, discard_flows: false, legacy_egress: true };
        let mut dataplane = Dataplane::open(&instance, &options).expect("the object loads");
        dataplane.commit().expect("the programs can be pinned");
        let interface = Interface { zone: 1, place: 1, flags: 0, reserved: 0 };
        dataplane.maps().set_interface(LOOPBACK, interface).expect("the interface can be written");
        Self { dataplane, pins: Pins::of(&instance) }
    }

    pub fn program(&self) -> Xdp {
        let pin = self.pins.root().join("programs").join(program::INGRESS);
        Xdp::from_pin(pin, aya_obj::programs::XdpAttachType::Interface).expect("the program is pinned")
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        detach_all(&self.pins).expect("the pins can be removed");
        assert!(!fs::exists(self.pins.root()).expect("a path"), "something was left behind");
    }
}
