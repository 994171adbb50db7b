//! The configuration: TOML files in, one checked [`Config`] out, or every error at once.
//!
//! Owns the names, units, defaults and limits of all keys, where the files are, and the wording of
//! the messages. It refuses to know what the values are used for: it starts nothing, opens no
//! socket, and does not look whether a server's command exists (a missing program is a worker's
//! failure, met with backoff, and not a reason for the daemon not to start).
//!
//! The way of a value: [`load()`] finds the files, `table` and `item` read key by key with the place
//! of everything, `value` knows sizes and time spans, `server`, `section`, `guard`, `tool`
//! and `principals` know the keys, `document` what must hold between tables; [`effective_toml`] writes the result down again, and
//! [`diff()`] compares two results for a reload.

mod diff;
mod document;
mod effective;
mod environment;
mod error;
mod guard;
mod guards;
mod item;
mod limits;
mod load;
mod model;
mod principals;
mod recipe;
mod section;
mod server;
mod source;
mod suggest;
mod table;
mod tool;
mod upstream;
mod value;

pub use diff::{Changed, Changes, Effect, diff, effect, in_force};
pub use document::known_keys;
pub use effective::effective_toml;
pub use environment::{Environment, Overrides};
pub use error::{ConfigError, Errors};
pub use guards::{Auth, Failure, Principal, Tokens, Tool};
pub use load::{SYSTEM_FILE, from_str, load};
pub use model::{
    Admin, Cgroup, Config, Era, Landlock, Listen, Pool, Program, Recovery, Rlimits, Sandbox,
    Server, Sessions, State,
};
pub use principals::{check_name, parse_hash};
pub use recipe::Recipe;
pub use upstream::{Bearer, Upstream, is_loopback};
pub use value::{format_span, parse_span};
