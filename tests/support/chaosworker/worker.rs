//! What all calls of the process share, and how the process starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::options::Options;
use super::store::Store;
use super::{die, fault, sleep_ms};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
    Both,
    Lock,
}

pub(crate) struct Worker {
    pub(crate) options: Options,
    /// Held while writing a frame, and by a wedge, which nothing gets past.
    pub(crate) output: Mutex<()>,
    pub(crate) era: Mutex<Era>,
    pub(crate) initialised: AtomicBool,
    pub(crate) cancelled: Mutex<BTreeSet<String>>,
    pub(crate) subscribed: Mutex<BTreeSet<String>>,
    /// Open `subscriptions/listen` requests: their ids.
    pub(crate) listening: Mutex<Vec<Value>>,
    pub(crate) asked: Mutex<BTreeMap<String, Sender<Value>>>,
    pub(crate) next_ask: AtomicU64,
    pub(crate) children: Mutex<Vec<u32>>,
    pub(crate) counter: AtomicU64,
    /// Calls so far, for `--refuse-after`.
    pub(crate) calls: AtomicU64,
    /// Effects so far: with the process id the name of one.
    pub(crate) effects: AtomicU64,
    pub(crate) store: Mutex<Store>,
    /// What `leak` and `bomb` never give back.
    pub(crate) hoard: Mutex<Vec<Vec<u8>>>,
}

impl Worker {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let era = match options.value("--era") {
            Some("legacy") => Era::Legacy,
            Some("modern") => Era::Modern,
            Some("lock") => Era::Lock,
            _ => Era::Both,
        };
        let store = Store::new(options.number("--cap"), options.number("--ttl"));
        Arc::new(Self {
            options,
            output: Mutex::new(()),
            era: Mutex::new(era),
            initialised: AtomicBool::new(false),
            cancelled: Mutex::default(),
            subscribed: Mutex::default(),
            listening: Mutex::default(),
            asked: Mutex::default(),
            next_ask: AtomicU64::new(0),
            children: Mutex::default(),
            counter: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            effects: AtomicU64::new(0),
            store: Mutex::new(store),
            hoard: Mutex::default(),
        })
    }

    pub(crate) fn begin(&self) {
        for (name, signal) in [
            ("int", signal_hook::consts::SIGINT),
            ("term", signal_hook::consts::SIGTERM),
        ] {
            if self.options.ignores(name) {
                let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
            }
        }
        if let Some(code) = self.options.number("--die-at-start") {
            eprintln!("Traceback: chaosworker dies at start");
            die(code);
        }
        let fault = self.options.value("--die-while");
        if fault.is_some_and(|file| std::path::Path::new(file).exists()) {
            eprintln!("Traceback: chaosworker is not repaired yet");
            die(1);
        }
        sleep_ms(self.options.number("--start-delay").unwrap_or(0));
        burn(self.options.number("--start-cpu").unwrap_or(0));
        if let Some(pace) = self.options.number("--stderr-flood") {
            fault::flood_for_ever(pace, !self.options.has("--no-newline"));
        }
        if self.options.has("--banner") {
            self.write(b"\xef\xbb\xbfchaosworker 1.0 \xe2\x94\x80 ready\r\n\n");
        }
        self.junk(self.options.number("--junk-start").unwrap_or(0));
        if self.options.has("--fork-child") {
            self.fork(false);
        }
        if self.options.has("--fork-child-group") {
            self.fork(true);
        }
        if self.options.has("--daemonise") {
            self.daemonise();
        }
    }
}

/// Keeps one core busy for a while.
pub(crate) fn burn(ms: u64) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(ms) {
        std::hint::spin_loop();
    }
}
