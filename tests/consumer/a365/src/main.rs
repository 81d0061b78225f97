//! placeholder until the crate's surface is there
fn main() {}
