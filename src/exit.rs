//! Exit codes of `mainstayd` and `mainstayctl`, by their sysexits(3) names. The only file that
//! knows the numbers; units and scripts rely on them.

/// `mainstayctl` was told something that cannot be done: no such server, worker or call, or not in
/// this state. Also what `status --check` ends with when something is missing.
pub const FAILURE: u8 = 1;
/// The command line was wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// A needed service is not there, such as the daemon behind the admin socket (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A critical task ended although nobody asked it to (`EX_SOFTWARE`).
pub const SOFTWARE: u8 = 70;
/// The operating system refused: a port in use, no more processes (`EX_OSERR`).
pub const OS: u8 = 71;
/// A directory or socket file cannot be created or written (`EX_CANTCREAT`).
pub const CANT_CREATE: u8 = 73;
/// The configuration has errors; starting again will not help (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
/// `launch` could not narrow the worker's surroundings before exec.
pub const LAUNCH_NARROW: u8 = 111;
/// `launch` found the worker's command but could not execute it.
pub const LAUNCH_NOT_EXECUTABLE: u8 = 126;
/// `launch` did not find the worker's command.
pub const LAUNCH_NOT_FOUND: u8 = 127;
