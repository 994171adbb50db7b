//! The effects ledger of one test, which all its chaosworkers append to (`--log`): what was really
//! executed, whatever anybody was told.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::chaos;

/// The file, in a directory of its own.
pub(crate) struct Ledger {
    dir: TempDir,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    /// The `command` of workers that write to it.
    pub(crate) fn chaos(&self, arguments: &[&str]) -> String {
        let path = self.path().display().to_string();
        let mut all = vec!["--log", &path];
        all.extend_from_slice(arguments);
        chaos(&all)
    }

    /// All lines so far; one that is just being written is left out.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        whole.map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// Executions of a tool.
    pub(crate) fn executed(&self, tool: &str) -> usize {
        self.entries().iter().filter(|e| e["tool"] == tool).count()
    }

    /// Effects of the call with this argument `id`.
    pub(crate) fn effects(&self, id: &str) -> usize {
        self.entries().iter().filter(|e| e["effect"] == id).count()
    }

    /// Cancellations that workers were told.
    pub(crate) fn cancellations(&self) -> usize {
        let entries = self.entries();
        entries.iter().filter(|e| e["cancelled"].is_u64()).count()
    }
}
