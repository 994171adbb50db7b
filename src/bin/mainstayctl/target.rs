//! What a breaker command is about: a server, or one of its tools.

use std::fmt;
use std::str::FromStr;

/// `SERVER` or `SERVER/TOOL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The server.
    pub(crate) server: String,
    /// The tool; `None`: the server as a whole.
    pub(crate) tool: Option<String>,
}

impl FromStr for Target {
    type Err = &'static str;

    /// No name of a server has a slash, that of a tool may: the first one divides.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (server, tool) = match text.split_once('/') {
            Some((server, tool)) => (server, Some(tool)),
            None => (text, None),
        };
        if server.is_empty() || tool == Some("") {
            return Err("name a server, such as github, or a tool of it, such as github/search");
        }
        Ok(Self {
            server: server.to_owned(),
            tool: tool.map(str::to_owned),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tool {
            Some(tool) => write!(f, "{}/{tool}", self.server),
            None => f.write_str(&self.server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_divides() {
        for (text, server, tool) in [
            ("github", "github", None),
            ("github/search", "github", Some("search")),
            ("github/repos/list", "github", Some("repos/list")),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.server.as_str(), target.tool.as_deref()),
                (server, tool)
            );
            assert_eq!(target.to_string(), text);
        }
        for wrong in ["", "/", "/search", "github/"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
