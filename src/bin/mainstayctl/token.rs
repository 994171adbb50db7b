//! `mainstayctl token NAME`: a new token, and what the configuration must say about it. The token
//! is shown once and kept nowhere; it asks no daemon.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay::config::check_name;
use sha2::{Digest as _, Sha256};

/// Begins every token, so that scanners for leaked secrets can find one.
const PREFIX: &str = "mainstay_";

/// A token from 256 bits of randomness, and the lines to paste.
pub(crate) fn make(name: &str) -> Result<String, String> {
    if let Err(why) = check_name(name) {
        return Err(format!("\"{}\" {why}", name.escape_debug()));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    Ok(text(name, &token))
}

fn text(name: &str, token: &str) -> String {
    let hash = Sha256::digest(token.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "# The token, for the client: shown this once and kept nowhere. It is sent as\n\
         #     Authorization: Bearer {token}\n\
         # These lines go into mainstay.toml; then restart mainstayd:\n\
         [[principals]]\n\
         name = \"{name}\"\n\
         token_sha256 = [\"{hash}\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, make, text};
    use mainstay::config::from_str;

    #[test]
    fn the_lines_are_a_configuration_with_the_hash_of_the_token() {
        // printf abc | sha256sum
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = text("alice", "abc");
        assert!(text.contains("Authorization: Bearer abc\n"), "{text}");
        assert!(
            text.contains(&format!("token_sha256 = [\"{hash}\"]")),
            "{text}"
        );
        let config = from_str("printed", &text).unwrap();
        assert_eq!(config.principals[0].name, "alice");
    }

    #[test]
    fn each_token_is_another() {
        let (a, b) = (make("a").unwrap(), make("a").unwrap());
        assert!(a.contains(PREFIX) && a != b);
        assert!(make("a b").unwrap_err().starts_with("\"a b\" is no name"));
    }
}
