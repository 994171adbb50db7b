//! The JSON-RPC envelope: what a message is and where its parts lie, without copying or
//! interpreting its body. It knows nothing of methods.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A JSON-RPC message whose parts borrow from the received bytes.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// String or integer, exactly as sent.
        id: &'a RawValue,
        /// Name of the method.
        method: Cow<'a, str>,
        /// Parameters, exactly as sent.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// Name of the method.
        method: Cow<'a, str>,
        /// Parameters, exactly as sent.
        params: Option<&'a RawValue>,
    },
    /// The answer to a request.
    Response {
        /// Id of the request; `None` when the sender could not tell (`null`).
        id: Option<&'a RawValue>,
        /// Its outcome.
        outcome: Outcome<'a>,
    },
}

/// The two ways a request ends.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The `result` member.
    Result(&'a RawValue),
    /// The `error` member.
    Error(&'a RawValue),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON at all, or not UTF-8, or nested deeper than 128 levels: -32700.
    #[error("not valid JSON")]
    Json,
    /// JSON, but not one JSON-RPC 2.0 request, notification or response: -32600.
    #[error("not a JSON-RPC 2.0 message")]
    Envelope,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Keeps an explicit `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(de: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(de).map(Some)
}

/// Parses one message.
///
/// # Errors
/// [`Malformed::Json`] if the bytes are no JSON, [`Malformed::Envelope`] if they are something
/// else than one JSON-RPC message: an array, a duplicate member, an id that is neither string
/// nor integer, both result and error.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let raw: Raw<'_> = match serde_json::from_slice(bytes) {
        Ok(raw) => raw,
        Err(_) => {
            return Err(match serde_json::from_slice::<&RawValue>(bytes) {
                Ok(_) => Malformed::Envelope,
                Err(_) => Malformed::Json,
            });
        }
    };
    // serde would take an array for the struct, its items for the members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') || raw.jsonrpc.as_deref() != Some("2.0") {
        return Err(Malformed::Envelope);
    }
    let id = match raw.id {
        Some(id) if id.get() == "null" => Some(None),
        Some(id) if is_id(id.get()) => Some(Some(id)),
        Some(_) => return Err(Malformed::Envelope),
        None => None,
    };
    match (raw.method, raw.result, raw.error, id) {
        (Some(method), None, None, Some(Some(id))) => Ok(Message::Request {
            id,
            method,
            params: raw.params,
        }),
        (Some(method), None, None, None) => Ok(Message::Notification {
            method,
            params: raw.params,
        }),
        (None, Some(result), None, Some(id)) => Ok(Message::Response {
            id,
            outcome: Outcome::Result(result),
        }),
        (None, None, Some(error), Some(id)) => Ok(Message::Response {
            id,
            outcome: Outcome::Error(error),
        }),
        _ => Err(Malformed::Envelope),
    }
}

/// A JSON-RPC id is a string or an integer of any size.
fn is_id(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    raw.starts_with('"') || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// What the head of a message that was cut off tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// The answer to the request with this id, raw JSON.
    Answer(String),
    /// A request or a notification.
    Other,
}

/// Reads as many top-level members of a message as are there; `None` if neither an id nor a
/// method is among them.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<Head> {
    struct Found(Option<Head>);
    impl<'de> Visitor<'de> for &mut Found {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut id = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                // Only what is followed by something is whole.
                if let Some(id) = id.take() {
                    self.0 = Some(Head::Answer(id));
                }
                if key == "method" {
                    self.0 = Some(Head::Other);
                    break;
                }
                let value = map.next_value::<&'de RawValue>()?;
                id = (key == "id").then(|| value.get().to_owned());
            }
            Ok(())
        }
    }
    let mut found = Found(None);
    // It ends in the middle, so an error is what is expected.
    let _ = serde_json::Deserializer::from_slice(bytes).deserialize_map(&mut found);
    found.0
}

/// The `code` of an `error` member, if it is an integer.
#[must_use]
pub fn error_code(error: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    serde_json::from_str::<Code>(error.get())
        .ok()
        .map(|e| e.code)
}

#[cfg(test)]
mod tests {
    use super::{Head, Malformed, Message, head, parse};

    #[test]
    fn requests_notifications_and_responses_are_told_apart() {
        assert!(matches!(
            parse(br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#),
            Ok(Message::Request { id, .. }) if id.get() == "0"
        ));
        assert!(matches!(
            parse(br#"{"jsonrpc":"2.0","method":"x","params":{"a":1}}"#),
            Ok(Message::Notification {
                params: Some(_),
                ..
            })
        ));
        assert!(matches!(
            parse(br#"{"jsonrpc":"2.0","id":"a","result":null}"#),
            Ok(Message::Response { id: Some(_), .. })
        ));
        assert!(matches!(
            parse(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#),
            Ok(Message::Response { id: None, .. })
        ));
    }

    #[test]
    fn the_head_of_a_message_tells_whose_answer_it_was() {
        let answer = |id: &str| Some(Head::Answer(id.to_owned()));
        for (bytes, wanted) in [
            (
                r#"{"jsonrpc":"2.0","id":17,"result":{"content":["xxx"#,
                answer("17"),
            ),
            (
                r#"{"id":"a","jsonrpc":"2.0","result":"xxx"#,
                answer("\"a\""),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"id":1"#,
                Some(Head::Other),
            ),
            (
                r#"{"id":1,"method":"sampling/createMessage","params":{"#,
                Some(Head::Other),
            ),
            (r#"{"jsonrpc":"2.0","result":{"id":1,"x":"#, None),
            (r#"{"id":1"#, None),
            ("[1,2", None),
            ("xxxxxx", None),
        ] {
            assert_eq!(head(bytes.as_bytes()), wanted, "{bytes}");
        }
    }

    #[test]
    fn what_is_no_message_says_why() {
        for bad in [
            r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#,
            r#" ["2.0",1,"ping"]"#,
            r#"["2.0",1,"ping",{}]"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#,
            r#"{"id":1,"method":"a"}"#,
            r#""text""#,
            "17",
        ] {
            assert_eq!(
                parse(bad.as_bytes()).err(),
                Some(Malformed::Envelope),
                "{bad}"
            );
        }
        let deep = [b'['; 1000];
        for bad in [&b"{"[..], b"", b"\xff\xfe", &deep] {
            assert_eq!(parse(bad).err(), Some(Malformed::Json));
        }
    }
}
