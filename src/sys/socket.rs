//! Socket options that std does not offer.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

/// Asks for a send buffer of `bytes`; the kernel lowers it to `wmem_max`, and a refusal is ignored
/// because a smaller buffer is only slower.
pub fn raise_send_buffer(socket: &impl AsFd, bytes: usize) {
    let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
}
