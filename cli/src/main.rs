//! The `mlc` command line.
fn main() {}
