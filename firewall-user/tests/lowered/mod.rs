//! A lowered policy as the host's and the kernel's pipeline take it in tests.

use firewall_common::testing::tables::Tables;
use firewall_user::policy::Lowered;

pub fn tables(lowered: Lowered) -> Tables {
    let Lowered { entries, profiles, schedules, applications, week_began: _, rows, blocks, addresses, services } = lowered;
    Tables { entries, profiles, schedules, applications, rows, blocks, addresses, services }
}
