//! `mainstayctl doctor` with a daemon and without.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "support is shared by several tests")]

mod support;

use std::path::Path;
use std::process::Command;

use mainstay::exit;
use serde_json::Value;
use support::daemon::Daemon;

/// The report, and the exit status.
fn doctor(socket: &Path, config: &Path) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstayctl"))
        .args(["doctor", "--json", "--socket"])
        .arg(socket)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (serde_json::from_str(&text).unwrap(), output.status.code())
}

fn about<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|one| one["about"] == name).collect()
}

#[test]
fn it_asks_the_daemon() {
    let daemon = Daemon::ready("[servers.a]\nbuiltin = \"score\"\n");
    let config = daemon.dir().join("mainstay.toml");
    let (report, status) = doctor(&daemon.dir().join("admin.sock"), &config);
    assert_eq!(about(&report, "daemon")[0]["grade"], "ok", "{report:#}");
    assert_eq!(about(&report, "servers")[0]["grade"], "ok");
    assert_eq!(about(&report, "admin socket")[0]["grade"], "ok");
    // No service manager started it.
    let fence = about(&report, "fence")[0];
    assert_eq!(fence["grade"], "weak");
    assert!(fence["mend"].as_str().unwrap().contains("landlock"));
    // What else is bad is the business of the machine that the test runs on.
    assert_eq!(status == Some(0), report["bad"] == 0);
}

#[test]
fn it_works_without_a_daemon_and_says_what_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("mainstay.toml");
    let text = "[listen]\nhttp = \"0.0.0.0:0\"\n[servers.a]\ncommand = [\"/absent/tool\"]\n";
    std::fs::write(&config, text).unwrap();
    let (report, status) = doctor(&dir.path().join("absent.sock"), &config);
    for name in ["daemon", "listener", "commands"] {
        assert_eq!(
            about(&report, name)[0]["grade"],
            "bad",
            "{name}: {report:#}"
        );
    }
    assert_eq!(status, Some(i32::from(exit::FAILURE)));
    std::fs::write(&config, "[nonsense]\n").unwrap();
    let (report, _) = doctor(&dir.path().join("absent.sock"), &config);
    assert_eq!(about(&report, "configuration")[0]["grade"], "bad");
}
