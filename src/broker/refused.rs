//! A refusal as the JSON-RPC error that the client gets, in both eras the same: code, sentence
//! and the three members of `data` that clients and models act on.

use bytes::Bytes;
use serde_json::json;

use crate::mcp::message;
use crate::policy::refusal::Refusal;

/// The error message for the request with the raw id `id`.
#[must_use]
pub fn error(id: &[u8], refusal: &Refusal) -> Bytes {
    let millis = refusal
        .retry_after
        // Rounded up: whoever waits that long must not come too early.
        .map(|d| u64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
    let data = json!({
        "reason": refusal.reason.as_str(),
        "retryAfterMs": millis,
        "retryable": refusal.retry_after.is_some(),
    });
    message::error(
        &String::from_utf8_lossy(id),
        refusal.reason.code(),
        &refusal.detail,
        Some(&data),
    )
    .into_bytes()
    .into()
}

#[cfg(test)]
mod tests {
    use super::error;
    use crate::policy::refusal::Refusal;
    use std::time::Duration;

    #[test]
    fn data_always_has_all_three_members() {
        let body = |r| String::from_utf8(error(b"\"a\"", &r).to_vec()).unwrap();
        assert_eq!(
            body(Refusal::overloaded("full", Duration::from_micros(119_001))),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-31003,"message":"full","data":{"reason":"overloaded","retryAfterMs":120,"retryable":true}}}"#
        );
        assert_eq!(
            body(Refusal::worker_lost("gone")),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-31005,"message":"gone","data":{"reason":"worker_lost","retryAfterMs":null,"retryable":false}}}"#
        );
    }
}
