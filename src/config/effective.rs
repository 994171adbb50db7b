//! Writes a configuration down with every key, so that a reader sees what is in force and from
//! what they may depart. What it writes reads back as the same configuration.

use super::value::{format_size, format_span};
use super::{Bearer, Config, Failure, Principal, Program, Server, Tokens, Tool, Upstream};
use crate::policy::{breaker, bucket::Limit};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration as TOML, every key written out.
#[must_use]
pub fn effective_toml(config: &Config) -> String {
    let mut out = Lines::default();
    out.text("state_dir", &path(&config.state_dir));
    out.text("cgroup", config.cgroup.as_str());

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

    out.limit("rate_limit", &config.rate_limit);
    out.table("auth");
    out.value("required", config.auth.required);
    for principal in &config.principals {
        write_principal(&mut out, principal);
    }
    for server in &config.servers {
        write_server(&mut out, server);
    }
    out.0
}

fn write_principal(out: &mut Lines, principal: &Principal) {
    out.table("[principals]");
    out.text("name", &principal.name);
    out.text("class", principal.class.as_str());
    match &principal.tokens {
        Tokens::Hashes(hashes) => {
            let hashes: Vec<String> = hashes.iter().map(hexadecimal).collect();
            out.texts("token_sha256", &hashes);
        }
        Tokens::File(file) => out.text("token_file", &path(file)),
        Tokens::Credential(name) => out.text("token_credential", name),
    }
    if let Some(limit) = &principal.rate_limit {
        out.limit("principals.rate_limit", limit);
    }
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
    out.size("queue_bytes", server.queue_bytes as u64);
    out.span("call_timeout", server.call_timeout);
    out.span("max_call_timeout", server.max_call_timeout);
    let retry_safe: Vec<String> = server.retry_safe.iter().cloned().collect();
    out.texts("retry_safe", &retry_safe);
    out.value("trust_annotations", server.trust_annotations);
    out.value("adaptive_concurrency", server.adaptive_concurrency);

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
    out.span("hold", recovery.hold);

    write_guards(out, server);

    if is_process {
        out.table(&format!("servers.{name}.limits"));
        let limits = &server.limits;
        out.value("open_files", limits.open_files);
        out.size("core_bytes", limits.core_bytes);
        out.value("processes", limits.processes.unwrap_or_default());
        out.size("memory", limits.memory);
        out.value("pids", limits.pids.unwrap_or_default());
        out.value("cpu_weight", limits.cpu_weight);
        out.table(&format!("servers.{name}.sandbox"));
        let sandbox = &server.sandbox;
        out.text("landlock", sandbox.landlock.as_str());
        out.paths("read_paths", &sandbox.read_paths);
        out.paths("write_paths", &sandbox.write_paths);
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

fn write_guards(out: &mut Lines, server: &Server) {
    let name = &server.name;
    out.breaker(&format!("servers.{name}.breaker"), &server.breaker);

    if !matches!(server.program, Program::Upstream(_)) {
        out.table(&format!("servers.{name}.memory"));
        let memory = &server.memory;
        out.size("soft_limit", memory.soft_limit);
        out.size("hard_limit", memory.hard_limit);
        out.span("check_interval", memory.check_interval);
    }

    out.table(&format!("servers.{name}.retry"));
    let retry = &server.retry;
    out.value("attempts", retry.attempts);
    out.value("budget_percent", retry.budget_percent);
    out.value("budget_per_second", retry.budget_per_second);

    let limit = server.rate_limit.unwrap_or(NO_LIMIT);
    out.limit(&format!("servers.{name}.rate_limit"), &limit);
    out.failure(&format!("servers.{name}.failure"), &server.failure);
    for (tool, settings) in &server.tools {
        let table = format!("servers.{name}.tools.{}", key(tool));
        write_tool(out, &table, settings);
    }
}

fn write_tool(out: &mut Lines, table: &str, tool: &Tool) {
    out.table(table);
    if let Some(timeout) = tool.call_timeout {
        out.span("call_timeout", timeout);
    }
    if let Some(safe) = tool.retry_safe {
        out.value("retry_safe", safe);
    }
    if let Some(class) = tool.class {
        out.text("class", class.as_str());
    }
    let limit = tool.rate_limit.unwrap_or(NO_LIMIT);
    out.limit(&format!("{table}.rate_limit"), &limit);
    if let Some(breaker) = &tool.breaker {
        out.breaker(&format!("{table}.breaker"), breaker);
    }
    if let Some(failure) = &tool.failure {
        out.failure(&format!("{table}.failure"), failure);
    }
}

/// How the absence of a limit is written.
const NO_LIMIT: Limit = Limit {
    rate: 0,
    burst_size: 1,
    refill_interval: Duration::from_millis(10),
};

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

    fn paths(&mut self, key: &str, paths: &[PathBuf]) {
        let texts: Vec<String> = paths.iter().map(|one| path(one)).collect();
        self.texts(key, &texts);
    }

    fn size(&mut self, key: &str, bytes: u64) {
        self.text(key, &format_size(bytes));
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, &format_span(span));
    }

    fn limit(&mut self, table: &str, limit: &Limit) {
        self.table(table);
        self.value("rate", limit.rate);
        self.value("burst_size", limit.burst_size);
        self.span("refill_interval", limit.refill_interval);
    }

    fn breaker(&mut self, table: &str, breaker: &breaker::Settings) {
        self.table(table);
        self.value("failure_threshold", breaker.failure_threshold);
        self.span("recovery_timeout", breaker.recovery_timeout);
        self.value("half_open_max_calls", breaker.half_open_max_calls);
        self.span("window", breaker.window);
        self.value("minimum_calls", breaker.minimum_calls);
        self.value("success_rate", breaker.success_rate);
        self.span("slow_call", breaker.slow_call.unwrap_or_default());
        self.value("slow_rate", breaker.slow_rate);
    }

    fn failure(&mut self, table: &str, failure: &Failure) {
        self.table(table);
        if let Some(pointer) = &failure.pointer {
            self.text("pointer", pointer);
        }
        if let Some(equals) = &failure.equals {
            self.text("equals", equals);
        }
        if let Some(codes) = &failure.caller_codes {
            self.value("caller_codes", toml::Value::from(codes.clone()));
        }
    }
}

/// Any text as a key.
fn key(text: &str) -> String {
    let mut key = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => key.extend(['\\', letter]),
            _ if letter.is_control() => key.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => key.push(letter),
        }
    }
    key.push('"');
    key
}

fn hexadecimal(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
