//! The admin tool (being written).
fn main() {}
