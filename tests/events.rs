//! An event reaches the log with its level, its sentence and its fields, as the `log` crate hands
//! them to any sink. A process has one logger, so this is one test in a file of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mainstay::observe::event::{Event, TARGET, emit};
use std::sync::Mutex;
use std::time::Duration;

struct Sink(Mutex<Vec<String>>);

static SINK: Sink = Sink(Mutex::new(Vec::new()));

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        struct Pairs(String);
        impl<'kvs> VisitSource<'kvs> for Pairs {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
                self.0.push_str(&format!("|{key}={value}"));
                Ok(())
            }
        }
        let mut pairs = Pairs(format!(
            "{} {} {}",
            record.target(),
            record.level(),
            record.args()
        ));
        record.key_values().visit(&mut pairs).unwrap();
        self.0.lock().unwrap().push(pairs.0);
    }

    fn flush(&self) {}
}

#[test]
fn events_are_logged_with_their_fields_where_the_filter_lets_them() {
    log::set_logger(&SINK).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let (server, era) = ("music".to_owned(), "modern".to_owned());
    let quiet = Event::WorkerStarted {
        server: server.clone(),
        worker: 7,
        pid: 42,
        era: era.clone(),
    };
    emit(&quiet);
    let ready = Event::WorkerReady {
        server,
        worker: 7,
        pid: 42,
        era,
        took: Duration::from_millis(1430),
    };
    emit(&ready);
    let id = ready.message_id();
    assert_eq!(
        *SINK.0.lock().unwrap(),
        [format!(
            "{TARGET} INFO worker 7 of music is ready in the modern era after 1.43 s\
             |event=worker_ready|server=music|worker=7|pid=42|era=modern|took_ms=1430\
             |message_id={id}|priority=6"
        )]
    );
}
