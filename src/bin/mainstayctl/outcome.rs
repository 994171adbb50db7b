//! How a command ends: what it prints, and its exit status. The only file here that knows which
//! failure has which status.

use mainstay::admin::client::ClientError;
use mainstay::admin::protocol::code;
use mainstay::exit;
use serde::Serialize;
use std::env::var_os;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Why a command did nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Exit status.
    pub(crate) code: u8,
    /// For people, on stderr.
    pub(crate) message: String,
}

/// What a command comes to.
pub(crate) type Outcome = Result<ExitCode, Failed>;

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Impossible(_) | ClientError::Rejected(_) => exit::FAILURE,
            ClientError::Refused { failure, .. } if failure.code == code::ARGUMENTS => exit::USAGE,
            _ => exit::UNAVAILABLE,
        };
        let message = error.to_string();
        Self { code, message }
    }
}

/// Prints text and is done.
pub(crate) fn print(text: &str) -> Outcome {
    // A reader that has seen enough (`| head`) is no failure.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Prints JSON for programs and is done.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failed {
        code: exit::SOFTWARE,
        message: error.to_string(),
    })?;
    print(&(text + "\n"))
}

/// Colour is for people (<https://no-color.org>: any value but an empty one turns it off).
pub(crate) fn coloured() -> bool {
    let set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}
