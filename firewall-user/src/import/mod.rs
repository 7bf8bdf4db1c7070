//! Policies made from what other firewalls are configured with.

pub mod asa;
