//! `[servers.NAME.tools.TOOL]`: what is special about single tools. It knows nothing of what the
//! tools are; a name that no worker offers is no error.

use super::guard::{breaker, failure, own_rate_limit};
use super::table::Table;
use super::value::format_span;
use super::{Server, Tool};
use crate::policy::class::Class;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reads `[servers.NAME.tools]`; `server` is complete but for its tools.
pub(super) fn tools(table: &Table<'_>, server: &Server) -> BTreeMap<String, Tool> {
    let tools = table.named().into_iter().map(|(name, table)| {
        let tool = tool(&name, &table, server);
        (name, tool)
    });
    tools.collect()
}

fn tool(name: &str, table: &Table<'_>, server: &Server) -> Tool {
    let breaker_table = table.table("breaker");
    let failure_table = table.table("failure");
    let tool = Tool {
        call_timeout: call_timeout(table, server.max_call_timeout),
        retry_safe: table.item("retry_safe").and_then(|item| item.flag()),
        rate_limit: own_rate_limit(table),
        class: table
            .item("class")
            .and_then(|item| item.choice(Class::NAMES)),
        breaker: breaker_table
            .is_there()
            .then(|| breaker(&breaker_table, &server.breaker)),
        failure: failure_table.is_there().then(|| failure(&failure_table)),
    };
    if let (Some(false), Some(item)) = (tool.retry_safe, table.find("retry_safe")) {
        if server.retry_safe.contains(name) {
            item.wrong("is false, and the server's `retry_safe` names this tool; remove one");
        }
    }
    table.finish();
    tool
}

/// A tool's own time-out, within the server's most.
fn call_timeout(table: &Table<'_>, most: Duration) -> Option<Duration> {
    let item = table.item("call_timeout")?;
    let span = item.span()?;
    if span.is_zero() {
        item.wrong("must be longer than zero; without the key it is as the server's");
        return None;
    }
    if span > most {
        item.wrong(format!(
            "\"{}\" is more than the server's max_call_timeout, \"{}\"; lower it or raise the other",
            format_span(span),
            format_span(most)
        ));
        return None;
    }
    Some(span)
}
