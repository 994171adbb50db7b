//! What the worker says it has: tools with their arguments and hints, and what both eras list alike.

use serde_json::{Map, Value, json};

/// `readOnlyHint`, `destructiveHint`, `idempotentHint`; a silent tool has no annotations at all.
type Hints = Option<(bool, bool, bool)>;

const SILENT: Hints = None;
const READS: Hints = Some((true, false, true));
const CREATES: Hints = Some((false, false, false));
const REPEATS: Hints = Some((false, false, true));
const DESTROYS: Hints = Some((false, true, false));

/// Name, arguments (`name:type`, or `name:type:Header` if mirrored), what it does, hints.
const TOOLS: &[(&str, &str, &str, Hints)] = &[
    ("echo", "text:string", "Answers the text", READS),
    (
        "slow",
        "ms:integer",
        "Answers after a while; other calls are answered meanwhile",
        READS,
    ),
    (
        "wedge",
        "ms:integer cpu:boolean",
        "Blocks the whole process, then answers",
        SILENT,
    ),
    (
        "exit",
        "code:integer when:string",
        "Exits: before the effect, without answer, or when answered",
        SILENT,
    ),
    (
        "junk",
        "lines:integer",
        "Writes lines that are no frames, then answers",
        SILENT,
    ),
    (
        "huge",
        "bytes:integer",
        "Answers a text of that size in one line",
        SILENT,
    ),
    (
        "partial",
        "exit:boolean",
        "Writes half of its answer, then exits or stays silent",
        SILENT,
    ),
    (
        "stderr",
        "bytes:integer newline:boolean",
        "Writes to stderr, then answers",
        SILENT,
    ),
    (
        "pid",
        "",
        "Answers its process id and that of its child",
        READS,
    ),
    ("env", "", "Answers its environment as JSON", READS),
    (
        "limits",
        "",
        "Answers what the kernel says about the process",
        READS,
    ),
    (
        "progress",
        "steps:integer ms:integer",
        "Reports each step, then answers",
        READS,
    ),
    (
        "log",
        "lines:integer",
        "Sends log notifications, then answers",
        SILENT,
    ),
    ("counter", "", "Counts its calls in memory", SILENT),
    (
        "ask_sampling",
        "",
        "Asks the client for a sample and answers what it said",
        SILENT,
    ),
    (
        "ask_roots",
        "",
        "Asks the client for its roots and answers what it said",
        SILENT,
    ),
    (
        "ask_elicitation",
        "",
        "Asks the user and answers what was said",
        SILENT,
    ),
    ("wrong_id", "", "Answers under an id nobody used", SILENT),
    ("duplicate_id", "", "Answers twice", SILENT),
    (
        "both",
        "",
        "Answers with a result and an error in one frame",
        SILENT,
    ),
    (
        "late",
        "ms:integer",
        "Answers after a while even if cancelled",
        SILENT,
    ),
    (
        "stop_reading",
        "ms:integer",
        "Answers, then does not read its stdin for a while",
        SILENT,
    ),
    (
        "list_changed",
        "",
        "Says that its tools changed, then answers",
        SILENT,
    ),
    (
        "update_resource",
        "uri:string",
        "Says that a resource changed to whom it concerns",
        SILENT,
    ),
    (
        "fail",
        "kind:string code:integer",
        "Fails: soft (inside a success), tool (isError), rpc (an error), empty (a success)",
        SILENT,
    ),
    (
        "close_stdout",
        "",
        "Closes its stdin and stdout and lives on",
        SILENT,
    ),
    (
        "write_file",
        "name:string",
        "Leaves a file in its HOME",
        SILENT,
    ),
    (
        "fork",
        "group:boolean",
        "Leaves one more child behind",
        SILENT,
    ),
    (
        "mirrored",
        "region:string:Region count:integer:Count flag:boolean:Flag",
        "Answers its arguments, which clients of the modern era mirror in headers",
        READS,
    ),
    (
        "hang",
        "",
        "Never answers; other calls are answered",
        SILENT,
    ),
    (
        "wedge_growing",
        "notes:integer",
        "Blocks the whole process, for longer than in proportion",
        SILENT,
    ),
    (
        "leak",
        "bytes:integer",
        "Keeps so much memory for ever",
        SILENT,
    ),
    (
        "bomb",
        "bytes_per_s:integer limit:integer",
        "Takes memory until killed",
        SILENT,
    ),
    (
        "cpu",
        "ms:integer threads:integer",
        "Keeps cores busy, then answers",
        SILENT,
    ),
    (
        "garbage",
        "kind:string answer:boolean",
        "Writes a line (text, invalid_utf8, nul, cr, lone_cr, bom, escape) that is no frame, or its answer like that",
        SILENT,
    ),
    (
        "line",
        "bytes:integer newline:boolean",
        "Writes one line of that size that is no frame, then answers",
        SILENT,
    ),
    (
        "daemonise",
        "",
        "Leaves a grandchild in a session of its own",
        SILENT,
    ),
    (
        "fork_bomb",
        "limit:integer",
        "Leaves as many children as it can",
        SILENT,
    ),
    (
        "create",
        "id:string value:string ms:integer crash:string",
        "Keeps a value; an id that is taken is an error",
        CREATES,
    ),
    (
        "random_create",
        "id:string",
        "Keeps another value each time",
        CREATES,
    ),
    ("list", "", "Answers what is kept", READS),
    (
        "delete",
        "id:string",
        "Forgets a value, or all (*)",
        DESTROYS,
    ),
    (
        "history",
        "value:string",
        "Answers all it was ever told",
        SILENT,
    ),
    (
        "effect",
        "id:string ms:integer when:string crash:string",
        "Has one effect for each execution, and may die: before_effect, after_effect, after_answer",
        DESTROYS,
    ),
    (
        "effect_idempotent",
        "id:string ms:integer when:string crash:string",
        "The same; says that it may be repeated",
        REPEATS,
    ),
    (
        "effect_read_only",
        "id:string ms:integer when:string crash:string",
        "The same; says that it changes nothing",
        READS,
    ),
    ("health_check", "", "Answers how it is", READS),
];

pub(crate) fn capabilities() -> Value {
    json!({"tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true}, "logging": {}})
}

pub(crate) fn server_info() -> Value {
    json!({"name": "chaosworker", "version": "1.0"})
}

pub(crate) fn listing(method: &str, params: &Value) -> Option<Value> {
    Some(match method {
        "tools/list" => json!({"tools": TOOLS.iter().map(tool).collect::<Vec<_>>()}),
        "resources/list" => json!({"resources": [{"uri": "chaos://state", "name": "state"}]}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "resources/read" => json!({"contents": [{"uri": params["uri"], "text": "chaos"}]}),
        "prompts/list" => json!({"prompts": []}),
        _ => return None,
    })
}

fn tool((name, arguments, description, hints): &(&str, &str, &str, Hints)) -> Value {
    let properties: Map<String, Value> = arguments
        .split(' ')
        .filter_map(|argument| argument.split_once(':'))
        .map(|(name, kind)| (name.to_owned(), property(kind)))
        .collect();
    let schema = json!({"type": "object", "properties": properties});
    let mut tool = json!({"name": name, "description": description, "inputSchema": schema});
    if let Some((reads, destroys, repeats)) = hints {
        tool["annotations"] = json!({
            "readOnlyHint": reads, "destructiveHint": destroys, "idempotentHint": repeats,
        });
    }
    tool
}

/// The schema of an argument: `type`, or `type:Header`.
fn property(kind: &str) -> Value {
    match kind.split_once(':') {
        None => json!({"type": kind}),
        Some((kind, header)) => json!({"type": kind, "x-mcp-header": header}),
    }
}
