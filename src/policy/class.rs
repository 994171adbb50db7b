//! How much a call matters when not all can be served.

/// Importance of a call, by its principal or its tool. Ordered: what is greater is shed later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Shed first, as soon as memory or the queue is under pressure.
    Background,
    /// Everything that says nothing else.
    #[default]
    Normal,
    /// Shed last.
    Critical,
}

impl Class {
    /// Every class with its name in the configuration.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("critical", Self::Critical),
        ("normal", Self::Normal),
        ("background", Self::Background),
    ];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }
}
