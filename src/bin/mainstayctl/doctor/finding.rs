//! One finding of `doctor`. What is found is for `judge`, how it looks for `page`.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    /// It does not work, or a door is open.
    Bad,
    /// It works, with less than it could have.
    Weak,
    /// As it should be.
    Ok,
}

impl Grade {
    /// As it is printed.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Weak => "weak",
            Self::Ok => "ok",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) grade: Grade,
    /// What was looked at: one or two words.
    pub(crate) about: &'static str,
    /// What is so, and what that means.
    pub(crate) what: String,
    /// What to do about it; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ok,
            about,
            what: what.into(),
            mend: None,
        }
    }

    /// Less than could be.
    pub(crate) fn weak(
        about: &'static str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Weak,
            about,
            what: what.into(),
            mend: Some(mend.into()),
        }
    }

    /// Broken, or open.
    pub(crate) fn bad(
        about: &'static str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Bad,
            ..Self::weak(about, what, mend)
        }
    }
}
