//! Writes a configuration down with every key, so that a reader sees what is in force and from
//! what they may depart. What it writes reads back as the same configuration.

use super::value::{format_size, format_span};
use super::{Bearer, Config, Program, Server, Upstream};
use std::path::Path;
use std::time::Duration;

/// The configuration as TOML, every key written out.
#[must_use]
pub fn effective_toml(config: &Config) -> String {
    let mut out = Lines::default();
    out.text("state_dir", &path(&config.state_dir));

    out.table("listen");
    let listen = &config.listen;
    out.text("http", &listen.http.to_string());
    out.value("max_connections", listen.max_connections);
    out.size("max_body_bytes", listen.max_body_bytes as u64);
    out.span("header_timeout", listen.header_timeout);
    out.span("keepalive_interval", listen.keepalive_interval);
    out.span("retry", listen.retry);
    out.texts("allowed_hosts", &listen.allowed_hosts);
    out.texts("allowed_origins", &listen.allowed_origins);

    out.table("admin");
    out.text("socket", &path(&config.admin.socket));

    out.table("sessions");
    let sessions = &config.sessions;
    out.value("max", sessions.max);
    out.span("idle_timeout", sessions.idle_timeout);
    out.size("stream_buffer_bytes", sessions.stream_buffer_bytes as u64);
    out.span("stream_retention", sessions.stream_retention);

    for server in &config.servers {
        write_server(&mut out, server);
    }
    out.0
}

fn write_server(out: &mut Lines, server: &Server) {
    let name = &server.name;
    out.table(&format!("servers.{name}"));
    match &server.program {
        Program::Command(words) => out.texts("command", words),
        Program::BuiltinScore => out.text("builtin", "score"),
        Program::Upstream(upstream) => out.text("url", &upstream.url),
    }
    let is_process = !matches!(server.program, Program::Upstream(_));
    out.value("default", server.default);
    if is_process {
        out.texts("env_pass", &server.env_pass);
    }
    if let Some(cwd) = &server.cwd {
        out.text("cwd", &path(cwd));
    }
    out.text("era", server.era.as_str());
    out.text("state", server.state.as_str());
    out.value("concurrency", server.concurrency);
    out.span("start_timeout", server.start_timeout);
    if is_process {
        out.span("stop_grace", server.stop_grace);
    }
    out.size("max_message_bytes", server.max_message_bytes as u64);
    out.size("write_queue_bytes", server.write_queue_bytes as u64);
    out.value("queue_size", server.queue_size);

    if let Program::Upstream(upstream) = &server.program {
        write_upstream(out, name, upstream);
    }
    if !server.env.is_empty() {
        out.table(&format!("servers.{name}.env"));
        for (variable, value) in &server.env {
            out.text(variable, value);
        }
    }

    out.table(&format!("servers.{name}.pool"));
    let pool = &server.pool;
    out.value("min_size", pool.min_size);
    out.value("max_size", pool.max_size);
    out.span("health_check_interval", pool.health_check_interval);
    out.span("acquire_timeout", pool.acquire_timeout);
    out.span("max_age", pool.max_age.unwrap_or_default());
    out.value("max_calls", pool.max_calls.unwrap_or_default());

    out.table(&format!("servers.{name}.recovery"));
    let recovery = &server.recovery;
    out.span("restart_delay", recovery.restart_delay);
    out.value("max_restart_attempts", recovery.max_restart_attempts);
    out.span("check_interval", recovery.check_interval);

    if is_process {
        out.table(&format!("servers.{name}.limits"));
        let limits = &server.limits;
        out.value("open_files", limits.open_files);
        out.size("core_bytes", limits.core_bytes);
        out.value("processes", limits.processes.unwrap_or_default());
    }
}

fn write_upstream(out: &mut Lines, name: &str, upstream: &Upstream) {
    out.table(&format!("servers.{name}.upstream"));
    out.span("connect_timeout", upstream.connect_timeout);
    out.span("response_timeout", upstream.response_timeout);
    out.span("idle_timeout", upstream.idle_timeout);
    match &upstream.bearer {
        None => {}
        Some(Bearer::File(file)) => out.text("bearer_file", &path(file)),
        Some(Bearer::Credential(name)) => out.text("bearer_credential", name),
    }
    if let Some(file) = &upstream.ca_file {
        out.text("ca_file", &path(file));
    }
    if !upstream.headers.is_empty() {
        out.table(&format!("servers.{name}.upstream.headers"));
        for (header, value) in &upstream.headers {
            out.text(header, value);
        }
    }
}

/// TOML lines so far.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn table(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn value(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, toml::Value::from(text));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.value(key, toml::Value::from(texts.to_vec()));
    }

    fn size(&mut self, key: &str, bytes: u64) {
        self.text(key, &format_size(bytes));
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, &format_span(span));
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
