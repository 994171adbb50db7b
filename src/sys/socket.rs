//! Socket options that std does not offer.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

/// Asks for a send buffer of `bytes`; the kernel lowers it to `wmem_max`, and a refusal is ignored
/// because a smaller buffer is only slower.
pub fn raise_send_buffer(socket: &impl AsFd, bytes: usize) {
    let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
}

/// Ends the stream towards the peer, which reads end of file; what it sends still arrives.
///
/// # Errors
/// The kernel refused, such as `ENOTCONN` once the peer is gone.
pub fn shutdown_write(socket: &impl AsFd) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    nix::sys::socket::shutdown(
        socket.as_fd().as_raw_fd(),
        nix::sys::socket::Shutdown::Write,
    )
    .map_err(std::io::Error::from)
}

/// Whether the process, or the machine, has no descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let code = error.raw_os_error();
    [nix::errno::Errno::EMFILE, nix::errno::Errno::ENFILE]
        .into_iter()
        .any(|one| code == Some(one as i32))
}
