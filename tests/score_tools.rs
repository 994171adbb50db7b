//! What the score server's tools promise in their descriptions, they do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it fails"
)]

use std::collections::BTreeMap;

use mainstay::score::{Options, Server, tunes};
use serde_json::{Value, json};

struct Client(Server);

impl Client {
    fn new() -> Self {
        Self(Server::new(Options::default()))
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        let frame = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.0.handle(frame.to_string().as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["result"].clone()
    }

    /// The structured answer, or the error's sentence.
    fn call(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        let result = self.request(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        );
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        if result["isError"] == true {
            assert!(result.get("structuredContent").is_none());
            return Err(text);
        }
        let structured = result["structuredContent"].clone();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            structured,
            "{name}"
        );
        Ok(structured)
    }

    fn import(&mut self, id: &str, source: &str) -> Value {
        self.call("import_score", json!({ "score_id": id, "source": source }))
            .unwrap()
    }

    fn tools(&mut self) -> BTreeMap<String, Value> {
        let list = self.request("tools/list", json!({}));
        let tools = list["tools"].as_array().unwrap().iter();
        tools
            .map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool.clone()))
            .collect()
    }

    /// Everything the server keeps, by id: what two states are compared by.
    fn state(&mut self) -> BTreeMap<String, (Value, Value, Value)> {
        let list = self.call("list_scores", json!({})).unwrap();
        let mut state = BTreeMap::new();
        for score in list["scores"].as_array().unwrap() {
            let id = score["score_id"].as_str().unwrap();
            let info = self.call("score_info", json!({ "score_id": id })).unwrap();
            let mut export = |format: &str| {
                self.call("export_score", json!({ "score_id": id, "format": format }))
                    .unwrap()
            };
            let texts = (export("musicxml"), export("abc"));
            state.insert(id.to_owned(), (info, texts.0, texts.1));
        }
        assert_eq!(list["count"], state.len());
        state
    }
}

/// Good arguments for every tool.
fn arguments(tool: &str) -> Value {
    match tool {
        "import_score" => json!({ "score_id": "new", "source": "K:G\nGABc|\n" }),
        "list_scores" | "health_check" => json!({}),
        "transpose" => json!({ "score_id": "tune", "interval": "M3" }),
        "score_info" | "key_analysis" | "chord_analysis" | "export_score" | "delete_score" => {
            json!({ "score_id": "tune" })
        }
        other => panic!("no arguments for {other}"),
    }
}

/// The part of JSON Schema the server uses; a schema word unknown here fails the test.
fn fits(schema: &Value, value: &Value, place: &str) {
    let kinds: Vec<_> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("{place}: type {other}"),
    };
    assert!(kinds.iter().any(is), "{place}: {value} is no {kinds:?}");
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "type" | "description" | "default" | "minLength" | "maxLength" => {}
            "minimum" => assert!(value.as_i64() >= rule.as_i64(), "{place}: {value}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{place}: {value}"),
            "required" if value.is_object() => {
                for name in rule.as_array().unwrap() {
                    assert!(
                        value.get(name.as_str().unwrap()).is_some(),
                        "{place}: {name} is missing"
                    );
                }
            }
            "properties" | "additionalProperties" if value.is_object() => {
                assert_eq!(schema["additionalProperties"], false, "{place}");
                for (name, inner) in value.as_object().unwrap() {
                    let rule = &schema["properties"][name];
                    assert!(rule.is_object(), "{place}: {name} is not in the schema");
                    fits(rule, inner, &format!("{place}.{name}"));
                }
            }
            "items" => {
                for inner in value.as_array().unwrap() {
                    fits(rule, inner, &format!("{place}[]"));
                }
            }
            "required" | "properties" | "additionalProperties" => {}
            other => panic!("{place}: {other} is not checked"),
        }
    }
}

#[test]
fn nine_tools_are_fully_described() {
    let tools = Client::new().tools();
    let names: Vec<_> = tools.keys().map(String::as_str).collect();
    let expected = [
        "chord_analysis",
        "delete_score",
        "export_score",
        "health_check",
        "import_score",
        "key_analysis",
        "list_scores",
        "score_info",
        "transpose",
    ];
    assert_eq!(names, expected);
    for (name, tool) in &tools {
        assert!(
            tool["title"].is_string() && tool["description"].is_string(),
            "{name}"
        );
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}");
            assert_eq!(tool[schema]["additionalProperties"], false, "{name}");
        }
        let hints = &tool["annotations"];
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(hints[hint].is_boolean(), "{name} {hint}");
        }
        let creates = matches!(name.as_str(), "import_score" | "transpose");
        assert_eq!(
            hints["readOnlyHint"],
            !creates && name != "delete_score",
            "{name}"
        );
        assert_eq!(hints["destructiveHint"], name == "delete_score", "{name}");
        assert_eq!(hints["idempotentHint"], true, "{name}");
        assert_eq!(hints["openWorldHint"], false, "{name}");
    }
}

#[test]
fn every_tool_called_twice_keeps_the_promises_of_its_annotations() {
    for (name, tool) in Client::new().tools() {
        let mut client = Client::new();
        client.import("tune", "greensleeves");
        client.import("other", "old_hundredth");
        let before = client.state();
        let first = client.call(&name, arguments(&name)).unwrap();
        let after = client.state();
        let second = client.call(&name, arguments(&name)).unwrap();
        let at_last = client.state();
        fits(&tool["outputSchema"], &first, &name);
        fits(&tool["outputSchema"], &second, &name);

        let hints = &tool["annotations"];
        assert_eq!(
            hints["readOnlyHint"] == true,
            before == after,
            "{name} changes what is kept"
        );
        if hints["destructiveHint"] == true {
            assert!(!after.contains_key("tune"), "{name}");
        } else {
            for (id, score) in &before {
                assert_eq!(after.get(id), Some(score), "{name} changed {id}");
            }
        }
        assert_eq!(hints["idempotentHint"], true);
        assert_eq!(
            after, at_last,
            "{name} had a further effect the second time"
        );
        if let Some(existed) = second.get("existed") {
            assert_eq!(
                (&first["existed"], existed),
                (&json!(false), &json!(true)),
                "{name}"
            );
        }
    }
}

#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let mut fresh = Client::new();
    fresh.import("tune", "harvest_hornpipe");
    let mut used = Client::new();
    for name in tunes::names() {
        used.import(name, name);
        used.call("chord_analysis", json!({ "score_id": name }))
            .unwrap();
    }
    used.call("delete_score", json!({ "score_id": "*" }))
        .unwrap();
    used.import("tune", "harvest_hornpipe");
    for tool in [
        "score_info",
        "key_analysis",
        "chord_analysis",
        "export_score",
        "list_scores",
        "transpose",
    ] {
        let (one, two) = (
            fresh.call(tool, arguments(tool)),
            used.call(tool, arguments(tool)),
        );
        assert_eq!(one, two, "{tool}");
    }
}

#[test]
fn an_id_that_is_taken_is_never_overwritten() {
    let mut client = Client::new();
    assert_eq!(client.import("a", "K:C\nCDEF|\n")["existed"], false);
    // Another text with the same notes is the same content.
    assert_eq!(
        client.import("a", "K:C\n%comment\nC D E F |\n")["existed"],
        true
    );
    let before = client.state();
    let arguments = json!({ "score_id": "a", "source": "K:C\nCDEG|\n" });
    let error = client.call("import_score", arguments).unwrap_err();
    assert!(
        error.starts_with("score_id:") && error.contains("already exists"),
        "{error}"
    );
    client.import("b", "K:C\nC|\n");
    let arguments = json!({ "score_id": "b", "interval": "P5", "result_id": "a" });
    let error = client.call("transpose", arguments).unwrap_err();
    assert!(
        error.starts_with("result_id:") && error.contains("already exists"),
        "{error}"
    );
    assert_eq!(client.state()["a"], before["a"]);
}

#[test]
fn a_full_library_refuses_and_keeps_what_it_has() {
    let mut client = Client(Server::new(Options {
        max_scores: 2,
        ..Options::default()
    }));
    client.import("a", "ode_to_joy");
    client.import("b", "ode_to_joy");
    let arguments = json!({ "score_id": "c", "source": "ode_to_joy" });
    let error = client.call("import_score", arguments.clone()).unwrap_err();
    assert!(
        error.contains("full") && error.contains("2 scores"),
        "{error}"
    );
    assert_eq!(client.state().keys().collect::<Vec<_>>(), ["a", "b"]);
    let gone = client
        .call("delete_score", json!({ "score_id": "a" }))
        .unwrap();
    assert_eq!(gone["deleted_count"], 1);
    assert!(client.call("import_score", arguments).is_ok());
}

#[test]
fn deleting_counts_what_it_deletes() {
    let mut client = Client::new();
    let delete = |client: &mut Client, id: &str| {
        client
            .call("delete_score", json!({ "score_id": id }))
            .unwrap()["deleted_count"]
            .clone()
    };
    assert_eq!(delete(&mut client, "absent"), 0);
    assert_eq!(delete(&mut client, "*"), 0);
    client.import("a", "ode_to_joy");
    client.import("b", "ode_to_joy");
    assert_eq!(delete(&mut client, "*"), 2);
    assert_eq!(client.state().len(), 0);
}

#[test]
fn wrong_arguments_are_named_and_nothing_changes() {
    let mut client = Client::new();
    client.import("tune", "ode_to_joy");
    client.import("silent", "M:4/4\nL:1/4\nK:C\nz4|\n");
    for (tool, arguments, parts) in [
        ("score_info", json!({}), ["score_id:", "needs"]),
        (
            "score_info",
            json!({ "score_id": 5 }),
            ["score_id:", "string"],
        ),
        (
            "score_info",
            json!({ "score_id": "absent" }),
            ["score_id:", "absent"],
        ),
        (
            "score_info",
            json!({ "score_id": "tune", "x": 1 }),
            ["x:", "no such argument"],
        ),
        ("list_scores", json!({ "x": 1 }), ["x:", "none"]),
        (
            "export_score",
            json!({ "score_id": "tune", "format": "midi" }),
            ["format:", "musicxml, abc"],
        ),
        (
            "transpose",
            json!({ "score_id": "tune", "interval": "X9" }),
            ["interval:", "X9"],
        ),
        (
            "transpose",
            json!({ "score_id": "tune", "interval": 500 }),
            ["interval:", "500"],
        ),
        (
            "transpose",
            json!({ "score_id": "tune", "interval": 100 }),
            ["interval:", "note"],
        ),
        (
            "transpose",
            json!({ "score_id": "tune", "interval": "A4" }),
            ["interval:", "seven sharps"],
        ),
        (
            "transpose",
            json!({ "score_id": "tune", "interval": true }),
            ["interval:", "integer"],
        ),
        (
            "key_analysis",
            json!({ "score_id": "silent" }),
            ["score_id:", "no pitched notes"],
        ),
        (
            "chord_analysis",
            json!({ "score_id": "silent" }),
            ["score_id:", "no pitched notes"],
        ),
    ] {
        refused(&mut client, tool, &arguments, parts);
    }
    let kept = client.state();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["silent", "tune"]);
}

#[test]
fn sources_that_are_no_scores_are_refused_by_place_or_name() {
    let mut client = Client::new();
    for (tool, arguments, parts) in [
        (
            "import_score",
            json!({ "score_id": "*", "source": "K:C\nC|" }),
            ["score_id:", "*"],
        ),
        (
            "import_score",
            json!({ "score_id": "", "source": "K:C\nC|" }),
            ["score_id:", "1 to 128"],
        ),
        (
            "import_score",
            json!({ "score_id": "a\nb", "source": "K:C\nC|" }),
            ["score_id:", "control"],
        ),
        (
            "import_score",
            json!({ "score_id": "n", "source": "K:C\nCDE|\nC %", "source_type": "abc", "y": 1 }),
            ["y:", "score_id"],
        ),
        (
            "import_score",
            json!({ "score_id": "n", "source": "T:Bad\nK:C\nCDE|\nCD {", "source_type": "abc" }),
            ["source:", "line 4, column 4"],
        ),
        (
            "import_score",
            json!({ "score_id": "n", "source": "nothing", "source_type": "corpus" }),
            ["source:", "ode_to_joy"],
        ),
        (
            "import_score",
            json!({ "score_id": "n", "source": "<score-timewise/>" }),
            ["source:", "score-timewise"],
        ),
        (
            "import_score",
            json!({ "score_id": "n", "source": "/etc/passwd" }),
            ["source:", "line 1"],
        ),
    ] {
        refused(&mut client, tool, &arguments, parts);
    }
    assert!(client.state().is_empty());
}

/// The call is an error whose sentence has these parts.
fn refused(client: &mut Client, tool: &str, arguments: &Value, parts: [&str; 2]) {
    let error = client.call(tool, arguments.clone()).expect_err(tool);
    for part in parts {
        assert!(error.contains(part), "{tool} {arguments}: {error}");
    }
}

#[test]
fn the_built_in_tunes_are_in_the_keys_they_are_known_in() {
    let mut client = Client::new();
    for (name, key) in [
        ("ah_vous_dirai_je", "C major"),
        ("amazing_grace", "G major"),
        ("frere_jacques", "F major"),
        ("greensleeves", "A minor"),
        ("harvest_hornpipe", "D major"),
        ("ode_to_joy", "D major"),
        ("old_hundredth", "G major"),
        ("scarborough_fair", "D minor"),
    ] {
        client.import(name, name);
        let answer = client
            .call("key_analysis", json!({ "score_id": name }))
            .unwrap();
        assert_eq!(answer["key"], key, "{name}: {answer}");
    }
    assert_eq!(client.state().len(), tunes::names().count());
    let health = client.call("health_check", json!({})).unwrap();
    let list = client.call("list_scores", json!({})).unwrap();
    let notes: u64 = list["scores"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["num_notes"].as_u64())
        .sum();
    assert_eq!(
        (&health["scores"], &health["notes"]),
        (&json!(8), &json!(notes))
    );
}
