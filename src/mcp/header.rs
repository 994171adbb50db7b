//! HTTP header values as MCP and RFC 9110 define them: media types, the mirrored `Mcp-*` headers
//! and their base64 sentinel. It reads strings; it knows no HTTP library and no status codes.

use base64::Engine as _;
use serde_json::Value;

/// Whether an `Accept` value admits `kind/subtype` (RFC 9110, section 12.5.1): parameters and case
/// are ignored, wildcards count, `q=0` excludes. The most specific matching range decides.
#[must_use]
pub fn accepts(accept: &str, kind: &str, subtype: &str) -> bool {
    let mut best: Option<(u8, bool)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let Some((k, s)) = parts.next().and_then(|r| r.split_once('/')) else {
            continue;
        };
        let rank = match (k, s) {
            ("*", "*") => 0,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 1,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 2,
            _ => continue,
        };
        let wanted = !parts.any(|p| {
            p.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("q")
                    && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
            })
        });
        if best.is_none_or(|(r, _)| rank >= r) {
            best = Some((rank, wanted));
        }
    }
    best.is_some_and(|(_, wanted)| wanted)
}

/// Whether a `Content-Type` is `application/json`, whatever its parameters.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    content_type
        .split(';')
        .next()
        .is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"))
}

/// The value of an `Mcp-*` header: optional white space trimmed, the `=?base64?...?=` sentinel
/// decoded. `None` if the sentinel does not hold valid base64 of UTF-8 text.
#[must_use]
pub fn decode(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value)
        .ok()?
        .trim_matches(|c| c == ' ' || c == '\t');
    match text
        .strip_prefix("=?base64?")
        .and_then(|t| t.strip_suffix("?="))
    {
        Some(encoded) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .ok()?;
            String::from_utf8(bytes).ok()
        }
        None => Some(text.to_owned()),
    }
}

/// A value as an `Mcp-*` header carries it: as it is where a header can hold it unchanged, else in
/// the base64 sentinel. What [`decode`] makes of it is `text` again.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~'))
        && text.trim() == text
        && !text.starts_with("=?base64?");
    if plain {
        return text.to_owned();
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("=?base64?{encoded}?=")
}

/// The header value that mirrors an argument (see [`mirrors`]); `None` for what has no header.
#[must_use]
pub fn mirror(argument: &Value) -> Option<String> {
    match argument {
        Value::String(text) => Some(encode(text)),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a mirrored `Mcp-Param-*` header agrees with its argument. A null or absent argument
/// has no header; integers compare as numbers; all else case-sensitively.
#[must_use]
pub fn mirrors(header: Option<&str>, argument: Option<&Value>) -> bool {
    match (header, argument) {
        (None, None | Some(Value::Null)) => true,
        (Some(text), Some(Value::String(s))) => text == s,
        (Some(text), Some(Value::Bool(b))) => text == if *b { "true" } else { "false" },
        (Some(text), Some(Value::Number(n))) => {
            text == n.to_string()
                || match (text.parse::<f64>(), n.as_f64()) {
                    #[expect(clippy::float_cmp, reason = "1.0 and 1 are the same number")]
                    (Ok(a), Some(b)) => a == b,
                    _ => false,
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{accepts, decode, encode, is_json, mirror, mirrors};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn accept_is_read_as_rfc_9110_says() {
        let both =
            |a: &str| accepts(a, "application", "json") && accepts(a, "text", "event-stream");
        assert!(both("application/json, text/event-stream"));
        assert!(both(
            "Text/Event-Stream;charset=utf-8 , APPLICATION/JSON;q=0.5"
        ));
        assert!(both("*/*"));
        assert!(both("application/*, text/*;q=0.1"));
        assert!(!both("application/json"));
        assert!(!both("application/json, text/event-stream;q=0"));
        assert!(!both("*/*, text/event-stream; q=0.0"));
        assert!(!both(""));
    }

    #[test]
    fn content_type_may_have_parameters() {
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("application/jsonx"));
        assert!(!is_json("text/plain"));
    }

    #[test]
    fn the_sentinel_is_decoded_first() {
        assert_eq!(decode(b" \techo ").as_deref(), Some("echo"));
        assert_eq!(decode(b"=?base64?w6k=?=").as_deref(), Some("\u{e9}"));
        assert_eq!(decode(b"=?base64?!!?="), None);
        assert_eq!(decode(b"=?base64?/w==?="), None);
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn parameters_mirror_their_arguments() {
        assert!(mirrors(Some("7"), Some(&json!(7))));
        assert!(mirrors(Some("7.0"), Some(&json!(7))));
        assert!(mirrors(Some("true"), Some(&json!(true))));
        assert!(mirrors(None, Some(&json!(null))));
        assert!(mirrors(None, None));
        assert!(!mirrors(Some("a"), Some(&json!("A"))));
        assert!(!mirrors(Some("a"), None));
        assert!(!mirrors(None, Some(&json!("a"))));
        assert!(!mirrors(Some("x"), Some(&json!(7))));
    }

    #[test]
    fn what_a_header_cannot_hold_is_encoded() {
        assert_eq!(encode("a b"), "a b");
        assert_eq!(encode(" a"), "=?base64?IGE=?=");
        assert_eq!(encode("\u{e9}"), "=?base64?w6k=?=");
        assert_eq!(encode("a\r\nx: y"), "=?base64?YQ0KeDogeQ==?=");
        assert_eq!(mirror(&json!(["a"])), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(text in any::<String>(), number in any::<i64>()) {
            let header = encode(&text);
            prop_assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert_eq!(decode(header.as_bytes()), Some(text));
            let number = json!(number);
            prop_assert!(mirrors(mirror(&number).as_deref(), Some(&number)));
        }
    }
}
