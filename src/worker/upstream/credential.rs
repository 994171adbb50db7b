//! The bearer token that an upstream wants, read anew for each worker so that a rotated one is
//! found. It is never logged; what clients send as `Authorization` never gets here.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use hyper::header::HeaderValue;

use crate::config::Bearer;

/// A longer file is no token.
const LONGEST: u64 = 16 * 1024;

/// The value of `Authorization`.
///
/// # Errors
/// The token cannot be read or cannot stand in a header.
pub(super) fn authorization(bearer: &Bearer) -> Result<HeaderValue, String> {
    let (path, key) = match bearer {
        Bearer::File(path) => (path.clone(), "bearer_file"),
        Bearer::Credential(name) => {
            let dir = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                format!(
                    "bearer_credential {name}: CREDENTIALS_DIRECTORY is not set; add \
                     LoadCredential={name}:PATH to the unit"
                )
            })?;
            (PathBuf::from(dir).join(name), "bearer_credential")
        }
    };
    let fail = |why: &str| format!("{key} {} {why}", path.display());
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|e| fail(&format!("cannot be read: {e}")))?;
    if text.len() as u64 > LONGEST {
        return Err(fail("is too large for a token"));
    }
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fail("does not hold one token of visible ASCII characters"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| fail("does not hold a token"))?;
    value.set_sensitive(true);
    Ok(value)
}
