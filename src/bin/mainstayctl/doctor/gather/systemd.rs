//! What systemd says of itself and of our unit. A service manager that hangs is given up on.

use super::super::facts::{Systemd, Unit};
use super::Place;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The unit of the package.
const UNIT: &str = "mainstay.service";
/// How long `systemctl` may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is judged.
const PROPERTIES: [&str; 20] = [
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "Result",
    "NeedDaemonReload",
    "DropInPaths",
    "Delegate",
    "DelegateControllers",
    "Type",
    "NotifyAccess",
    "WatchdogUSec",
    "Restart",
    "OOMPolicy",
    "KillMode",
    "User",
    "FileDescriptorStoreMax",
    "LimitNOFILE",
    "TasksMax",
    "MemoryMax",
    "ProtectHome",
];

pub(super) fn systemd(place: &Place<'_>) -> Systemd {
    let version = (place.systemctl)(&["--version"]).ok();
    let version = version.and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
    if version.is_none() {
        return Systemd {
            version,
            unit: Unit::Unknown("there is no systemctl".to_owned()),
        };
    }
    let properties = PROPERTIES.join(",");
    let arguments = ["show", "--no-pager", "--property", &properties, UNIT];
    let unit = match (place.systemctl)(&arguments) {
        Err(why) => Unit::Unknown(why),
        Ok(text) => loaded(&text),
    };
    Systemd { version, unit }
}

fn loaded(text: &str) -> Unit {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let properties: std::collections::BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match properties.get("LoadState").map(String::as_str) {
        Some("loaded") => Unit::Loaded(properties),
        Some("not-found") => Unit::Absent,
        Some(state) => Unit::Unknown(format!("it is {state}")),
        None => Unit::Unknown("it does not say whether it is loaded".to_owned()),
    }
}

/// Runs `systemctl` with these arguments, and gives up after a while.
pub(crate) fn ask(arguments: &[&str]) -> Result<String, String> {
    let mut child = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("systemctl: {error}"))?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("systemctl: no output".to_owned());
    };
    let (done, answer) = channel();
    thread::spawn(move || {
        let (mut text, mut complaint) = (String::new(), String::new());
        let read = stdout.read_to_string(&mut text);
        let _ = stderr.read_to_string(&mut complaint);
        let _ = done.send(read.map(|_| (text, complaint)));
    });
    let answer = answer.recv_timeout(PATIENCE);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| format!("systemctl: {error}"))?;
    match answer {
        Ok(Ok((text, _))) if status.success() => Ok(text),
        Ok(Ok((_, complaint))) => Err(complaint.lines().next().unwrap_or("it failed").to_owned()),
        Ok(Err(error)) => Err(format!("systemctl: {error}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
