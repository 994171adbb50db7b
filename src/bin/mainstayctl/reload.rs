//! The command `reload`: has the daemon read its configuration again, and shows what came of it.

use crate::outcome::{Failed, Outcome, print};
use crate::reach::patient_client;
use mainstay::admin::client::ClientError;
use mainstay::broker::reload::Reloaded;
use mainstay::exit;
use std::path::PathBuf;
use std::time::Duration;

/// Others may have asked before, and each reading takes 10 s at most.
const PATIENCE: Duration = Duration::from_secs(90);

/// `reload`.
pub(crate) fn reload(socket: Option<PathBuf>, check: bool) -> Outcome {
    match patient_client(socket, PATIENCE)?.reload(check) {
        Ok(told) => print(&page(&told)),
        Err(ClientError::Rejected(errors)) => Err(Failed {
            code: exit::FAILURE,
            message: refused(&errors, check),
        }),
        Err(other) => Err(other.into()),
    }
}

fn page(told: &Reloaded) -> String {
    let head = match (told.checked, told.is_empty()) {
        (true, true) => "the configuration is good; a reload would change nothing",
        (true, false) => "the configuration is good; a reload would do this:",
        (false, true) => "reloaded; nothing has changed",
        (false, false) => "reloaded; the new configuration is in force:",
    };
    let mut text = format!("{head}\n");
    for line in told.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    let has_begun = !(told.replaced.is_empty() && told.renewed.is_empty());
    if !told.checked && has_begun {
        text.push_str("  how far it is: mainstayctl status\n");
    }
    text
}

fn refused(errors: &[String], check: bool) -> String {
    let count = match errors.len() {
        1 => "1 error".to_owned(),
        more => format!("{more} errors"),
    };
    let what = if check {
        "the configuration would be refused"
    } else {
        "the new configuration is refused, the old one stays in force, nothing was changed"
    };
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    format!("{what}: {count}{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::{page, refused};
    use mainstay::broker::reload::{Reloaded, Touched};

    #[test]
    fn an_operator_reads_what_was_done_and_what_is_left_to_do() {
        let told = Reloaded {
            added: vec!["weather".to_owned()],
            replaced: vec![Touched {
                server: "music".to_owned(),
                keys: vec!["command".to_owned(), "pool.max_size".to_owned()],
            }],
            restart: vec!["listen.http".to_owned()],
            warnings: vec!["look here".to_owned()],
            ..Reloaded::default()
        };
        assert_eq!(
            page(&told),
            "reloaded; the new configuration is in force:\n  \
             added: weather\n  \
             replaced: music (command, pool.max_size); the old workers end one by one, as new ones get ready\n  \
             TAKES A RESTART: listen.http; until `systemctl restart mainstay` the old value holds\n  \
             warning: look here\n  \
             how far it is: mainstayctl status\n"
        );
        assert_eq!(
            page(&Reloaded::default()),
            "reloaded; nothing has changed\n"
        );
    }

    #[test]
    fn a_refusal_has_every_error_on_a_line() {
        let errors = ["a.toml:1: x: y".to_owned(), "a.toml:2: z".to_owned()];
        assert_eq!(
            refused(&errors, false),
            "the new configuration is refused, the old one stays in force, nothing was changed: 2 errors\n  \
             a.toml:1: x: y\n  a.toml:2: z"
        );
    }
}
