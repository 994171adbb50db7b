//! Protocol revisions and the two eras they fall into. Which era a message is of is decided by
//! the version it names, in the header or in `_meta`.

use std::fmt;

/// The two ways MCP works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2025-03-26 .. 2025-11-25: handshake and sessions.
    Legacy,
    /// 2026-07-28: stateless.
    Modern,
}

impl Era {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Modern];
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        })
    }
}

/// The current revision, the only one of the modern era.
pub const MODERN: &str = "2026-07-28";

/// A revision of the legacy era that is served over Streamable HTTP, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2025-03-26: what a request without a version header speaks.
    V2025_03_26,
    /// 2025-06-18.
    V2025_06_18,
    /// 2025-11-25: the first whose clients understand a priming event.
    V2025_11_25,
}

impl Version {
    /// The newest.
    pub const LATEST: Self = Self::V2025_11_25;

    /// The date that names it on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Reads a date; `None` if it names no revision served here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25]
            .into_iter()
            .find(|v| v.as_str() == text)
    }

    /// The answer to a client that asks for `text`: the same if served, else the latest.
    #[must_use]
    pub fn negotiate(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::LATEST)
    }

    /// Whether clients of this revision can parse the empty `data:` of a priming event.
    #[must_use]
    pub fn has_priming(self) -> bool {
        self >= Self::V2025_11_25
    }
}

/// The era of a message that names this version. 2024-11-05 counts as legacy: its clients send
/// `initialize` and are answered with a newer revision.
#[must_use]
pub fn era_of(version: &str) -> Era {
    if Version::parse(version).is_some() || version == "2024-11-05" {
        Era::Legacy
    } else {
        Era::Modern
    }
}

/// Methods that 2026-07-28 removed; the daemon answers them itself (HTTP 404, -32601).
#[must_use]
pub fn removed_in_modern(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
    )
}

#[cfg(test)]
mod tests {
    use super::{Era, Version, era_of};

    #[test]
    fn unknown_versions_are_modern_and_negotiate_to_the_latest() {
        assert_eq!(era_of("2025-06-18"), Era::Legacy);
        assert_eq!(era_of("2026-07-28"), Era::Modern);
        assert_eq!(era_of("2099-01-01"), Era::Modern);
        assert_eq!(Version::negotiate("2025-03-26"), Version::V2025_03_26);
        assert_eq!(Version::negotiate("2099-01-01"), Version::V2025_11_25);
        assert!(!Version::V2025_06_18.has_priming());
    }
}
