//! An error with everything that led to it, on one line, as a log wants it.

use std::error::Error;

/// `error: cause: cause of the cause`.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::one_line;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the roof leaks")]
    struct Leak(#[source] io::Error);

    #[test]
    fn causes_follow_their_error() {
        let leak = Leak(io::Error::other("it rains"));
        assert_eq!(one_line(&leak), "the roof leaks: it rains");
    }
}
