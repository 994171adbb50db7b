//! The tables of the guards, which servers share with the top level and partly with single tools:
//! `breaker`, `memory`, `retry`, `rate_limit`, `failure`. Their keys and ranges; not what they do.

use super::Failure;
use super::item::Item;
use super::table::Table;
use super::value::{format_size, format_span};
use crate::policy::bucket::Limit;
use crate::policy::{breaker, memory, retry};
use std::time::Duration;

/// More of anything a second, or in a row, is a typing error.
const MOST: u64 = 1_000_000;
/// Calls in flight of a server at most: workers times calls per worker, rounded down.
const MOST_PROBES: u64 = 10_000;
/// No process of any use lives on less.
pub(super) const SMALLEST_MEMORY: u64 = 1 << 20;
/// Above what a host has, far below what overflows a sum.
pub(super) const LARGEST_MEMORY: u64 = 1 << 50;

/// `[breaker]`; what is not written is taken from `base`.
pub(super) fn breaker(table: &Table<'_>, base: &breaker::Settings) -> breaker::Settings {
    let mut breaker = base.clone();
    table.count(
        "failure_threshold",
        1..=MOST,
        &mut breaker.failure_threshold,
    );
    table.span("recovery_timeout", &mut breaker.recovery_timeout);
    table.count(
        "half_open_max_calls",
        1..=MOST_PROBES,
        &mut breaker.half_open_max_calls,
    );
    table.span("window", &mut breaker.window);
    table.count("minimum_calls", 1..=MOST, &mut breaker.minimum_calls);
    table.count("success_rate", 0..=100, &mut breaker.success_rate);
    table.optional_span("slow_call", &mut breaker.slow_call);
    table.count("slow_rate", 1..=100, &mut breaker.slow_rate);
    table.finish();
    breaker
}

/// `[memory]`; what is not written is taken from `base`.
pub(super) fn memory(table: &Table<'_>, base: &memory::Limits) -> memory::Limits {
    const RANGE: std::ops::RangeInclusive<u64> = SMALLEST_MEMORY..=LARGEST_MEMORY;
    let mut limits = *base;
    let soft = table.size("soft_limit", RANGE, &mut limits.soft_limit);
    let hard = table.size("hard_limit", RANGE, &mut limits.hard_limit);
    table.span("check_interval", &mut limits.check_interval);
    for (key, key_here) in [
        ("soft_limit_gb", "soft_limit = \"2G\""),
        ("hard_limit_gb", "hard_limit = \"4G\""),
    ] {
        table.refuse(
            key,
            &format!("is written with its unit here, such as {key_here}"),
        );
    }
    if limits.hard_limit <= limits.soft_limit {
        let told = |item: &Option<Item<'_>>, size| match item {
            Some(_) => format_size(size),
            None => format!("{} (as it is without the key)", format_size(size)),
        };
        if let Some(at) = hard.as_ref().or(soft.as_ref()) {
            table.wrong_at(
                &at.place,
                "hard_limit",
                format!(
                    "is {}, not more than soft_limit, {}; raise it or lower soft_limit",
                    told(&hard, limits.hard_limit),
                    told(&soft, limits.soft_limit)
                ),
            );
        }
    }
    table.finish();
    limits
}

/// `[servers.NAME.retry]`
pub(super) fn retry(table: &Table<'_>) -> retry::Settings {
    let mut retry = retry::Settings::default();
    table.count("attempts", 1..=100, &mut retry.attempts);
    table.count("budget_percent", 0..=1000, &mut retry.budget_percent);
    table.count("budget_per_second", 0..=MOST, &mut retry.budget_per_second);
    table.finish();
    retry
}

/// `[rate_limit]`; what is not written is taken from `base`, but the burst belongs to its rate.
pub(super) fn rate_limit(table: &Table<'_>, base: &Limit) -> Limit {
    let mut limit = *base;
    let rate = table.count("rate", 0..=MOST, &mut limit.rate);
    let burst = table.count("burst_size", 1..=MOST, &mut limit.burst_size);
    if rate.is_some() && burst.is_none() && limit.rate > 0 {
        limit.burst_size = limit.rate.saturating_mul(2);
    }
    table.span("refill_interval", &mut limit.refill_interval);
    table.finish();
    let portion = f64::from(limit.rate) * limit.refill_interval.as_secs_f64();
    if portion > f64::from(limit.burst_size) {
        table.wrong(format!(
            "a rate of {} with a refill_interval of \"{}\" gives {} calls at a time, more than \
             burst_size, {}, so that the rate could not be reached; shorten refill_interval",
            limit.rate,
            format_span(limit.refill_interval),
            portion.ceil(),
            limit.burst_size
        ));
    }
    limit
}

/// `rate_limit` of a server or a tool: none unless it is there and its rate is not 0.
pub(super) fn own_rate_limit(table: &Table<'_>) -> Option<Limit> {
    let nested = table.table("rate_limit");
    if !nested.is_there() {
        return None;
    }
    if nested.find("rate").is_none() {
        nested.wrong("has no `rate`; add the calls a second, such as rate = 10");
    }
    let none = Limit {
        rate: 0,
        ..Limit::default()
    };
    let limit = rate_limit(&nested, &none);
    (limit.rate > 0).then_some(limit)
}

/// `[servers.NAME.failure]`
pub(super) fn failure(table: &Table<'_>) -> Failure {
    let mut failure = Failure::default();
    if let Some(item) = table.item("pointer") {
        match item.text("\"/content/0/text/status\"") {
            Some(text) if is_pointer(text) => failure.pointer = Some(text.to_owned()),
            Some(_) => item.wrong(
                "is no JSON pointer (RFC 6901); each part begins with a slash: \
                 \"/content/0/text/status\"",
            ),
            None => {}
        }
    }
    if let Some(item) = table.item("equals") {
        failure.equals = item.text("\"error\"").map(ToOwned::to_owned);
        if table.find("pointer").is_none() {
            item.wrong("says nothing without `pointer`; add where the value is to be found");
        }
    }
    let codes = table
        .item("caller_codes")
        .and_then(|item| item.list("a list of whole numbers, such as [-32602]"));
    failure.caller_codes = codes.map(|codes| codes.iter().filter_map(Item::integer).collect());
    table.finish();
    failure
}

fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1);
    text.starts_with('/') && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']))
}

/// The two time-outs of a call in order. One that nobody wrote gives way to the other.
pub(super) fn call_timeouts(table: &Table<'_>, call: &mut Duration, most: &mut Duration) {
    let call_at = table.find("call_timeout");
    let most_at = table.find("max_call_timeout");
    table.span("call_timeout", call);
    table.span("max_call_timeout", most);
    if call <= most {
        return;
    }
    match (call_at, most_at) {
        (Some(_), None) => *most = *call,
        (None, _) => *call = *most,
        (Some(item), Some(_)) => item.wrong(format!(
            "\"{}\" is more than max_call_timeout, \"{}\"; lower it or raise the other",
            format_span(*call),
            format_span(*most)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        for good in ["/", "/a", "/content/0/text", "/a~0b/c~1d"] {
            assert!(is_pointer(good), "{good}");
        }
        for bad in ["", "a", "a/b", "/a~2", "/a~", "$.a"] {
            assert!(!is_pointer(bad), "{bad}");
        }
    }
}
