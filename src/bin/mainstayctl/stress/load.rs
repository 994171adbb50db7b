//! What users call, and what they must be answered: whether an answer is good is decided by its
//! values. Pure.

use serde_json::{Value, json};

use super::failure::Failure;

/// Most scores that are kept at once: the library of the score server holds 1,000 for everybody.
const SCORES_MOST: usize = 400;
/// Most scores of one user.
const SCORES_OF_A_USER: usize = 8;

/// A melody in ABC, and what is known of it.
struct Melody {
    key: &'static str,
    /// The key that an analysis must find.
    found: &'static str,
    meter: &'static str,
    bars: &'static str,
    notes: u64,
    measures: u64,
}

/// Tunes whose key nobody doubts.
const MELODIES: [Melody; 5] = [
    Melody {
        key: "D",
        found: "D major",
        meter: "4/4",
        bars: "FFGA | AGFE | DDEF | F>E E2 | FFGA | AGFE | DDEF | E>D D2 |",
        notes: 30,
        measures: 8,
    },
    Melody {
        key: "C",
        found: "C major",
        meter: "4/4",
        bars: "CCGG | AAG2 | FFEE | DDC2 |",
        notes: 14,
        measures: 4,
    },
    Melody {
        key: "F",
        found: "F major",
        meter: "4/4",
        bars: "FGAF | FGAF | ABc2 | ABc2 | c/d/c/B/ AF | c/d/c/B/ AF | FCF2 | FCF2 |",
        notes: 32,
        measures: 8,
    },
    Melody {
        key: "G",
        found: "G major",
        meter: "4/4",
        bars: "GGdd | eed2 | ccBB | AAG2 |",
        notes: 14,
        measures: 4,
    },
    Melody {
        key: "Am",
        found: "A minor",
        meter: "4/4",
        bars: "ABcd | e2 e2 | dcBA | ^G2 E2 | ABcd | e2 c2 | B2 ^G2 | A4 |",
        notes: 21,
        measures: 8,
    },
];

/// What users do, found out by what the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Import a score, then look at it: the score server.
    Score,
    /// Tools that only read and need no arguments.
    Reading(Vec<String>),
    /// No tool can be called without doing harm: list them.
    Listing,
}

/// One call and what its answer must be.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Tools,
    Content,
    /// These members of what the tool tells.
    Values(Value),
}

impl Load {
    /// By the result of `tools/list`.
    pub(crate) fn of(tools: &Value) -> Self {
        let tools = tools["tools"].as_array().map_or(&[][..], Vec::as_slice);
        let has = |name: &str| tools.iter().any(|tool| tool["name"] == name);
        if ["import_score", "key_analysis", "score_info"]
            .iter()
            .all(|name| has(name))
        {
            return Self::Score;
        }
        let harmless = tools.iter().filter(|tool| {
            let required = tool["inputSchema"]["required"].as_array();
            tool["annotations"]["readOnlyHint"] == true && required.is_none_or(Vec::is_empty)
        });
        let names: Vec<String> = harmless
            .filter_map(|tool| tool["name"].as_str().map(ToOwned::to_owned))
            .collect();
        if names.is_empty() {
            Self::Listing
        } else {
            Self::Reading(names)
        }
    }

    /// In words, for the report.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Score => {
                "imports of scores and analyses of them, each answer checked by value".to_owned()
            }
            Self::Reading(names) => format!(
                "tools that only read and need no arguments ({}); answers are checked for content, \
                 not for values",
                names.join(", ")
            ),
            Self::Listing => {
                "tools/list alone: no tool says that it only reads and needs no arguments"
                    .to_owned()
            }
        }
    }

    /// One round of a user. `run` keeps the scores of two runs apart.
    pub(crate) fn round(&self, run: u32, user: usize, of: usize, round: usize) -> Vec<Step> {
        match self {
            Self::Score => score(run, user, of, round),
            Self::Reading(names) => {
                let name = names.get((user + round) % names.len().max(1));
                name.map(|name| call(name, &json!({}), Expected::Content))
                    .into_iter()
                    .collect()
            }
            Self::Listing => vec![Step {
                method: "tools/list",
                params: json!({}),
                expected: Expected::Tools,
            }],
        }
    }

    /// What a user leaves behind, taken away.
    pub(crate) fn farewell(&self, run: u32, user: usize, of: usize) -> Vec<Step> {
        if *self != Self::Score {
            return Vec::new();
        }
        let each = 0..scores_of_a_user(of);
        each.map(|variant| {
            let id = score_id(run, user, variant);
            call("delete_score", &json!({"score_id": id}), Expected::Content)
        })
        .collect()
    }
}

fn scores_of_a_user(of: usize) -> usize {
    (SCORES_MOST / of.max(1)).clamp(1, SCORES_OF_A_USER)
}

/// Users beyond what the library holds share scores with others; their content is the same.
fn score_id(run: u32, user: usize, variant: usize) -> String {
    format!("stress-{run}-{}-{variant}", user % SCORES_MOST)
}

fn score(run: u32, user: usize, of: usize, round: usize) -> Vec<Step> {
    let variant = round % scores_of_a_user(of);
    let id = score_id(run, user, variant);
    let slot = user % SCORES_MOST;
    let Some(melody) = MELODIES.get((slot + variant) % MELODIES.len()) else {
        return Vec::new();
    };
    // Lengths differ, so that the answer to another user is no good one.
    let times = 1 + (slot / MELODIES.len() + variant) % 3;
    let bars = vec![melody.bars; times].join("\n");
    let abc = format!(
        "X:1\nT:{id}\nM:{}\nL:1/4\nK:{}\n{bars}\n",
        melody.meter, melody.key
    );
    let (notes, measures) = (melody.notes * times as u64, melody.measures * times as u64);
    let import = call(
        "import_score",
        &json!({"score_id": id, "source": abc, "source_type": "abc"}),
        Expected::Values(json!({
            "score_id": id, "num_notes": notes, "num_measures": measures, "num_parts": 1,
        })),
    );
    let about = json!({"score_id": id});
    let look = if round % 2 == 0 {
        let values = json!({"score_id": id, "key": melody.found});
        call("key_analysis", &about, Expected::Values(values))
    } else {
        let values = json!({
            "score_id": id, "title": id, "num_notes": notes, "time_signatures": [melody.meter],
        });
        call("score_info", &about, Expected::Values(values))
    };
    vec![import, look]
}

fn call(name: &str, arguments: &Value, expected: Expected) -> Step {
    Step {
        method: "tools/call",
        params: json!({"name": name, "arguments": arguments}),
        expected,
    }
}

impl Step {
    /// Whether a result is what it must be.
    pub(crate) fn check(&self, result: &Value) -> Result<(), Failure> {
        let what = self.params["name"].as_str().unwrap_or(self.method);
        if let Expected::Tools = self.expected {
            return match result["tools"].is_array() {
                true => Ok(()),
                false => Err(Failure::wrong(format!("{what}: no tools in {result}"))),
            };
        }
        let content = result["content"].as_array();
        let Some(content) = content else {
            return Err(Failure::wrong(format!("{what}: no content in {result}")));
        };
        let text = content.first().and_then(|block| block["text"].as_str());
        let text = text.unwrap_or_default();
        if result["isError"] == true {
            return Err(Failure::new("error of the tool", format!("{what}: {text}")));
        }
        let Expected::Values(wanted) = &self.expected else {
            return Ok(());
        };
        let told: Value = match result.get("structuredContent") {
            Some(told) => told.clone(),
            None => serde_json::from_str(text).unwrap_or_default(),
        };
        for (name, wanted) in wanted.as_object().into_iter().flatten() {
            let told = &told[name];
            if told != wanted {
                return Err(Failure::wrong(format!(
                    "{what}: {name} is {told}, not {wanted}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(told: &Value) -> Value {
        json!({"content": [{"type": "text", "text": told.to_string()}]})
    }

    #[test]
    fn a_wrong_value_is_no_good_answer() {
        let steps = Load::Score.round(1, 0, 50, 0);
        let good = json!({"score_id": "stress-1-0-0", "key": "D major", "confidence": 0.9});
        assert!(steps[1].check(&result(&good)).is_ok());
        for (name, value) in [("key", "B minor"), ("score_id", "stress-1-1-0")] {
            let mut bad = good.clone();
            bad[name] = value.into();
            let failure = steps[1].check(&result(&bad)).unwrap_err();
            assert_eq!(failure.kind, "wrong answer", "{}", failure.example);
            let structured = json!({"content": [], "structuredContent": bad});
            assert!(steps[1].check(&structured).is_err());
        }
        let mut error = result(&good);
        error["isError"] = true.into();
        assert_eq!(
            steps[1].check(&error).unwrap_err().kind,
            "error of the tool"
        );
        assert!(steps[1].check(&json!({})).is_err());
        assert!(steps[0].check(&result(&json!({}))).is_err());
    }

    /// The same id always has the same content, or the server would refuse it.
    #[test]
    fn scores_are_few_and_each_id_has_one_content() {
        let mut known = std::collections::BTreeMap::new();
        for user in 0..1000 {
            for round in 0..20 {
                let import = &Load::Score.round(7, user, 1000, round)[0].params["arguments"];
                let id = import["score_id"].as_str().unwrap().to_owned();
                let source = import["source"].as_str().unwrap().to_owned();
                assert_eq!(known.entry(id).or_insert_with(|| source.clone()), &source);
            }
        }
        assert!(known.len() <= SCORES_MOST, "{}", known.len());
    }

    #[test]
    fn the_load_follows_the_tools() {
        let tool = |name: &str, reads: bool, required: Value| {
            json!({"name": name, "annotations": {"readOnlyHint": reads},
                   "inputSchema": {"type": "object", "required": required}})
        };
        let tools = json!({"tools": [
            tool("a", true, json!([])), tool("b", false, json!([])), tool("c", true, json!(["x"])),
        ]});
        assert_eq!(Load::of(&tools), Load::Reading(vec!["a".to_owned()]));
        assert_eq!(Load::of(&json!({"tools": [{"name": "a"}]})), Load::Listing);
    }

    /// The melodies are what this file says of them, by the score server's own reading.
    #[test]
    fn the_expectations_are_true() {
        use mainstay::score::abc;
        for melody in &MELODIES {
            let abc = format!(
                "X:1\nM:{}\nL:1/4\nK:{}\n{}\n",
                melody.meter, melody.key, melody.bars
            );
            let summary = abc::read(&abc).unwrap().summary();
            let told = (summary.notes as u64, summary.measures as u64);
            assert_eq!(told, (melody.notes, melody.measures), "{}", melody.bars);
        }
    }
}
