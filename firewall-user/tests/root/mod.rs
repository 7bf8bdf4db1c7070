//! Whether the kernel can be tested here.

use std::env;

/// True when the kernel can be tested. Not being root is a failure unless the environment says that it is meant.
pub fn available() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(env::var_os("WEIR_TEST_NO_ROOT").is_some(), "these tests need root; set WEIR_TEST_NO_ROOT to go without them");
    println!("skipped: not root");
    false
}
