//! Who calls, by the bearer token of a request (RFC 6750) or the address of its connection. Tokens
//! are known by their SHA-256 only, compared in constant time, and never written anywhere. A token
//! in a query string is never looked at: those end up in logs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::broker::limits::Limits;
use crate::broker::principal::Principal;
use crate::config::{self, Config, Tokens};

/// A file of hashes that is larger is something else.
const LARGEST_FILE: u64 = 1 << 20;

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no token and `auth.required` wants one.
    Missing,
    /// `Authorization` is no bearer token, or one that nobody has.
    Unknown,
}

/// Why the tokens of a principal cannot be read. Displays what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// A file or credential cannot be read.
    #[error("the token hashes of principal {name} cannot be read from {place}: {source}; {advice}")]
    Unreadable {
        /// The principal.
        name: String,
        /// File or credential.
        place: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// A credential is asked for, and systemd gave none.
    #[error(
        "principal {name} has its token hashes in credential {credential}, but CREDENTIALS_DIRECTORY \
         is not set; start mainstayd by systemd with LoadCredential={credential}:PATH, or use \
         token_file"
    )]
    NoCredentials {
        /// The principal.
        name: String,
        /// The credential.
        credential: String,
    },
    /// A line is no hash. It is not shown, it may be a token.
    #[error(
        "line {line} of {place} is no SHA-256 in 64 hexadecimal digits (principal {name}); \
         `mainstayctl token {name}` makes a token and prints its hash"
    )]
    NoHash {
        /// The principal.
        name: String,
        /// File or credential.
        place: String,
        /// The line.
        line: usize,
    },
    /// There is no line with a hash.
    #[error("{place} has no token hash (principal {name}); `mainstayctl token {name}` makes one")]
    Empty {
        /// The principal.
        name: String,
        /// File or credential.
        place: String,
    },
    /// Two principals have one token.
    #[error("principals {first} and {second} have the same token; give each its own")]
    Shared {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
}

/// Who has which token, and whether one is needed.
#[derive(Debug)]
pub struct Auth {
    required: bool,
    known: Vec<([u8; 32], Arc<Principal>)>,
}

impl Auth {
    /// Reads the hashes of all principals; `credentials` is systemd's `CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub fn read(config: &Config, credentials: Option<&OsStr>) -> Result<Self, TokensError> {
        let mut known: Vec<([u8; 32], Arc<Principal>)> = Vec::new();
        for given in &config.principals {
            let principal = Principal::named(&given.name, given.class, given.rate_limit);
            let principal = Arc::new(principal);
            for hash in hashes(given, credentials)? {
                match known.iter().find(|(known, _)| *known == hash) {
                    Some((_, other)) if other.name() == given.name => {}
                    Some((_, other)) => {
                        return Err(TokensError::Shared {
                            first: other.name().to_owned(),
                            second: given.name.clone(),
                        });
                    }
                    None => known.push((hash, Arc::clone(&principal))),
                }
            }
        }
        Ok(Self {
            required: config.auth.required,
            known,
        })
    }

    /// Makes the principals known to the limits, in the place of those who had their names.
    #[must_use]
    pub fn introduced(mut self, limits: &Limits) -> Self {
        for (_, principal) in &mut self.known {
            *principal = limits.meet(Principal::clone(principal));
        }
        self
    }

    /// Who sent these headers over a connection of `stranger`.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn caller(
        &self,
        headers: &HeaderMap,
        stranger: &Arc<Principal>,
    ) -> Result<Arc<Principal>, Denied> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = given.next() else {
            return match self.required {
                true => Err(Denied::Missing),
                false => Ok(Arc::clone(stranger)),
            };
        };
        if given.next().is_some() {
            return Err(Denied::Unknown);
        }
        let token = bearer(first.as_bytes()).ok_or(Denied::Unknown)?;
        self.find(&Sha256::digest(token).into())
            .ok_or(Denied::Unknown)
    }

    /// Looks at every hash, whichever it is: how long it takes tells nothing.
    fn find(&self, hash: &[u8; 32]) -> Option<Arc<Principal>> {
        let mut found = u64::MAX;
        for ((known, _), index) in self.known.iter().zip(0_u64..) {
            let same: Choice = known.ct_eq(hash);
            found = u64::conditional_select(&found, &index, same);
        }
        let (_, principal) = self.known.get(usize::try_from(found).ok()?)?;
        Some(Arc::clone(principal))
    }
}

/// The token of `Bearer TOKEN`, if its form is that of RFC 6750.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || !rest.starts_with(b" ") {
        return None;
    }
    let token = rest.trim_ascii();
    let body = token.iter().rposition(|b| *b != b'=')?;
    let mut letters = token[..=body].iter();
    let good = letters.all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(b));
    good.then_some(token)
}

fn hashes(
    given: &config::Principal,
    credentials: Option<&OsStr>,
) -> Result<Vec<[u8; 32]>, TokensError> {
    let name = &given.name;
    match &given.tokens {
        Tokens::Hashes(hashes) => Ok(hashes.clone()),
        Tokens::File(path) => {
            let advice = "let the daemon's user read it, one hash a line";
            read_hashes(name, path, path.display().to_string(), advice)
        }
        Tokens::Credential(credential) => {
            let Some(directory) = credentials else {
                return Err(TokensError::NoCredentials {
                    name: name.clone(),
                    credential: credential.clone(),
                });
            };
            let path = Path::new(directory).join(credential);
            let advice = "add LoadCredential= for it to the unit";
            read_hashes(name, &path, format!("credential {credential}"), advice)
        }
    }
}

/// One hash a line; empty lines, lines with `#` and what follows a hash (as `sha256sum` prints a
/// name) are left out.
fn read_hashes(
    name: &str,
    path: &Path,
    place: String,
    advice: &'static str,
) -> Result<Vec<[u8; 32]>, TokensError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(TokensError::Unreadable {
            name: name.to_owned(),
            place,
            source,
            advice,
        });
    }
    let mut hashes = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let word = line.split_whitespace().next().unwrap_or("#");
        if word.starts_with('#') {
            continue;
        }
        let Some(hash) = config::parse_hash(word) else {
            return Err(TokensError::NoHash {
                name: name.to_owned(),
                place,
                line: number,
            });
        };
        hashes.push(hash);
    }
    if hashes.is_empty() {
        return Err(TokensError::Empty {
            name: name.to_owned(),
            place,
        });
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn only_the_form_of_the_standard_is_a_token() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  a-._~+/9== ", Some("a-._~+/9==")),
            ("BEARER a", Some("a")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer ==", None),
            ("Bearer a b", None),
            ("Bearer a=b", None),
            ("Bearer \"a\"", None),
            ("Bearera", None),
            ("Basic YTpi", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value:?}"
            );
        }
    }
}
