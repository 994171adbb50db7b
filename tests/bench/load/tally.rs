//! What was measured, and how it is printed.

use std::time::Duration;

/// Durations of the calls of the measured span, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    nanos: Vec<u64>,
    /// All calls, those of the warm-up included.
    pub(crate) all: u64,
    pub(crate) wrong: u64,
    /// The first wrong answer.
    pub(crate) sample: Option<String>,
}

impl Tally {
    pub(crate) fn took(&mut self, span: Duration) {
        self.nanos
            .push(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn wrong(&mut self, status: u16, body: &[u8]) {
        self.wrong += 1;
        let text = || format!("{status} {}", String::from_utf8_lossy(body));
        self.sample.get_or_insert_with(text);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
        self.all += other.all;
        self.wrong += other.wrong;
        self.sample = self.sample.take().or(other.sample);
    }

    /// One line of JSON; `span` is how long was measured.
    pub(crate) fn json(mut self, span: Duration) -> String {
        self.nanos.sort_unstable();
        let calls = self.nanos.len();
        let quantile = |percent: usize| {
            let at = (calls * percent / 100).min(calls.saturating_sub(1));
            let nanos = self.nanos.get(at).copied().unwrap_or_default();
            format!("{}.{}", nanos / 1000, nanos % 1000 / 100)
        };
        let rate =
            u128::try_from(calls).unwrap_or_default() * 1_000_000_000 / span.as_nanos().max(1);
        let sample = serde_json::Value::from(self.sample.clone());
        format!(
            r#"{{"calls":{calls},"all_calls":{},"calls_per_second":{rate},"p50_us":{},"p90_us":{},"p99_us":{},"errors":{},"sample":{sample}}}"#,
            self.all,
            quantile(50),
            quantile(90),
            quantile(99),
            self.wrong,
        )
    }
}
