//! What tests about reloads need: another configuration for a daemon that runs, and the command of an
//! operator.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::daemon::{Daemon, chaos, until};

/// A server `[servers.NAME]` of chaosworkers that know which generation they are of.
pub(crate) fn server(name: &str, generation: u32, more: &str) -> String {
    format!(
        "[servers.{name}]\n{}env = {{ GENERATION = \"{generation}\" }}\n{more}\n",
        chaos(&[])
    )
}

/// Writes another configuration for the daemon; nothing reads it yet.
pub(crate) fn configure(daemon: &Daemon, servers: &str) {
    configure_with(daemon, "http = \"127.0.0.1:0\"", servers);
}

/// The same with other lines for `[listen]`.
pub(crate) fn configure_with(daemon: &Daemon, listen: &str, servers: &str) {
    let socket = daemon.dir().join("admin.sock").display().to_string();
    let text = format!(
        "[listen]\n{listen}\n\n[admin]\nsocket = {socket:?}\n[rate_limit]\nrate = 0\n{servers}"
    );
    let file = daemon.dir().join("mainstay.toml");
    fs::write(&file, text).unwrap();
}

/// Exit status, stdout and stderr of `mainstayctl`.
pub(crate) fn ctl(socket: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstayctl"));
    let output = command.arg("--socket").arg(socket).args(args).output();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// `mainstayctl reload`, which has to be done; what it says.
pub(crate) fn reload(daemon: &Daemon) -> String {
    let (status, said, why) = ctl(&daemon.dir().join("admin.sock"), &["reload"]);
    assert_eq!(status, 0, "{why}\n{}", daemon.log());
    said
}

/// `mainstayctl reload`, which has to be refused; what it says.
pub(crate) fn refused(daemon: &Daemon) -> String {
    let (status, said, why) = ctl(&daemon.dir().join("admin.sock"), &["reload"]);
    assert_eq!((status, said.as_str()), (1, ""), "{why}\n{}", daemon.log());
    why
}

/// Waits until nothing that a reload has begun is left to do.
pub(crate) fn settled(daemon: &Daemon) {
    until("reloads are over", || {
        let configuration = daemon.status().configuration;
        configuration.pending.is_empty().then_some(())
    });
}
