//! A lowered policy as the host's and the kernel's pipeline take it in tests.

use firewall_common::testing::tables::Tables;
use firewall_user::policy::Lowered;

pub fn tables(lowered: Lowered) -> Tables {
    let Lowered { entries, profiles, rows, blocks, addresses, services } = lowered;
    Tables { entries, profiles, rows, blocks, addresses, services }
}
