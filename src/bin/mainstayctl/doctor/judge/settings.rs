//! The configuration: whether it is good, whom it lets in, its files, its commands.

use super::super::facts::{Command, Configuration, Facts, Program, Secrecy, SecretFile, Unit};
use super::super::finding::Finding;
use mainstay::config::Config;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![configuration(&facts.config)];
    if let Some(config) = facts.config.good() {
        findings.push(exposure(config));
    }
    findings.extend(facts.files.iter().map(file));
    let hidden = hides_homes(&facts.systemd.unit);
    findings.extend(facts.commands.iter().map(|one| command(one, hidden)));
    findings
}

fn configuration(config: &Configuration) -> Finding {
    match config {
        Configuration::Good(_) => Finding::ok("configuration", "good"),
        Configuration::Wrong(errors) => Finding::bad(
            "configuration",
            errors,
            "the daemon does not start with it: correct it, then mainstayd check",
        ),
        Configuration::Closed(why) => Finding::weak(
            "configuration",
            format!("{why}: nothing that depends on it was looked at"),
            "ask as root",
        ),
    }
}

/// Who may come in.
fn exposure(config: &Config) -> Finding {
    let address = config.listen.http;
    match (address.ip().is_loopback(), config.auth.required) {
        (true, true) => Finding::ok("listener", format!("{address}, for tokens only")),
        (true, false) => Finding::ok(
            "listener",
            format!("{address}: every user of this machine may call, nobody else"),
        ),
        (false, true) => Finding::weak(
            "listener",
            format!("{address} is reached from outside, without TLS: tokens can be overheard"),
            "listen on loopback, behind a proxy that does TLS",
        ),
        (false, false) => Finding::bad(
            "listener",
            format!("{address} is reached from outside, and nobody needs a token"),
            "set [auth] required = true, or listen on loopback",
        ),
    }
}

fn file(file: &SecretFile) -> Finding {
    let (what, path) = (&file.what, file.path.display());
    let mode = match &file.mode {
        Ok(mode) => mode & 0o777,
        Err(why) => {
            return Finding::bad(
                "files",
                format!("{what}, {path}, cannot be used: {why}"),
                "make it, or correct the path in the configuration",
            );
        }
    };
    if mode & 0o022 != 0 {
        return Finding::bad(
            "files",
            format!("{what}, {path}, can be changed by others than its owner (mode {mode:o})"),
            format!("chmod go-w {path}"),
        );
    }
    match file.secrecy {
        Secrecy::Token if mode & 0o077 != 0 => Finding::bad(
            "files",
            format!("{what}, {path}, can be read by others than its owner (mode {mode:o})"),
            format!("chmod 600 {path}, owned by the user of the service; or use a credential"),
        ),
        Secrecy::Private if mode & 0o007 != 0 => Finding::weak(
            "files",
            format!(
                "{what}, {path}, has variables or headers, which may be secret, and everybody can read it (mode {mode:o})"
            ),
            format!("chmod o= {path}, in the group of the service; or keep secrets out of it"),
        ),
        Secrecy::Token | Secrecy::Private | Secrecy::Public => {
            Finding::ok("files", format!("{what}: {path}, mode {mode:o}"))
        }
    }
}

/// Whether the service sees no homes.
fn hides_homes(unit: &Unit) -> bool {
    match unit {
        Unit::Loaded(properties) => properties
            .get("ProtectHome")
            .is_some_and(|value| matches!(value.as_str(), "yes" | "tmpfs")),
        Unit::Unknown(_) | Unit::Absent => false,
    }
}

fn command(command: &Command, hidden: bool) -> Finding {
    let (server, program) = (&command.server, &command.program);
    match &command.found {
        Err(why) => Finding::bad(
            "commands",
            format!("{server}: {program} {why}"),
            "install it, or write its full path in `command`",
        ),
        Ok(Program { path, .. })
            if hidden && (path.starts_with("/home") || path.starts_with("/root")) =>
        {
            Finding::bad(
                "commands",
                format!(
                    "{server}: {} is in a home, which the unit hides (ProtectHome=)",
                    path.display()
                ),
                "install it outside, such as below /opt or /usr/local",
            )
        }
        Ok(Program {
            user: Some(user),
            closed: Some(closed),
            ..
        }) => Finding::bad(
            "commands",
            format!(
                "{server}: user {user} may not execute or enter {}",
                closed.display()
            ),
            format!("give {user} the permission, or install {program} elsewhere"),
        ),
        Ok(Program { path, .. }) => {
            Finding::ok("commands", format!("{server}: {}", path.display()))
        }
    }
}
