//! What facts mean for mainstay, and how to mend what is not as it should be. Pure: the same facts
//! are always judged alike.

mod daemon;
mod machine;
mod service;
mod settings;

use super::facts::Facts;
use super::finding::Finding;

/// Everything that is to be said, in the order of the parts.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = daemon::judge(facts);
    findings.extend(settings::judge(facts));
    findings.extend(machine::judge(facts));
    findings.extend(service::judge(facts));
    findings
}

/// `7.5 GiB`, `512.0 MiB`.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    let tenths = |unit: u64| (bytes / (unit / 16)) * 10 / 16;
    let (unit, name) = if bytes >= MIB << 10 {
        (MIB << 10, "GiB")
    } else {
        (MIB, "MiB")
    };
    let tenths = tenths(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
