//! What a command line says of itself: the options and subcommands as a part of a manual page, and
//! completion scripts. It owns how they are written and knows no command line; each binary hands in
//! its own.

use clap::builder::StyledStr;
use clap::{Arg, Command};
pub use clap_complete::Shell;
use std::fmt::Write as _;

/// The sections OPTIONS and SUBCOMMANDS of a manual page, in scdoc(5). What is hidden in the help
/// is left out.
#[must_use]
pub fn scdoc(mut command: Command) -> String {
    command.build();
    let mut page = "# OPTIONS\n\n".to_owned();
    options(&mut page, &command, false);
    if command.get_subcommands().any(documented) {
        page.push_str("# SUBCOMMANDS\n\n");
        subcommands(&mut page, &command);
    }
    page
}

/// A script that lets a shell complete the command line of the binary of this name.
#[must_use]
pub fn completions(name: &'static str, command: &Command, shell: Shell) -> Vec<u8> {
    // Hidden subcommands are for the daemon, not for people, and clap_complete would offer them.
    let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
    let mut shown = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().cloned())
        .subcommands(visible.cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, name, &mut script);
    script
}

fn documented(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

/// Every command that does something, with its own below it in place of the group.
fn subcommands(page: &mut String, command: &Command) {
    for subcommand in command.get_subcommands().filter(|one| documented(one)) {
        if !subcommand.is_subcommand_required_set() {
            entry(page, subcommand);
        }
        subcommands(page, subcommand);
    }
}

fn entry(page: &mut String, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let line = usage.lines().next().unwrap_or_default();
    let _ = writeln!(page, "{}", call(line.trim_start_matches("Usage: ")));
    for text in [command.get_about(), command.get_after_help()]
        .into_iter()
        .flatten()
    {
        let _ = writeln!(page, "\t{}\n", sentence(text));
    }
    options(page, command, true);
}

/// Arguments and options, each with what it does; within a subcommand one step to the right.
fn options(page: &mut String, command: &Command, nested: bool) {
    let step = if nested { "\t" } else { "" };
    for arg in command.get_arguments() {
        let global = arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        if arg.is_hide_set() || nested && global {
            continue;
        }
        let _ = writeln!(page, "{step}{}", form(arg));
        let mut text = arg.get_help().map(sentence).unwrap_or_default();
        for (open, values) in [
            (" One of: ", possible(arg)),
            (" Without it: ", default(arg)),
        ] {
            if !values.is_empty() {
                let _ = write!(text, "{open}{}.", escape(&values));
            }
        }
        let _ = writeln!(page, "{step}\t{}\n", text.trim_start());
    }
}

/// An option as it is written, such as `*--for* _TIME_`.
fn form(arg: &Arg) -> String {
    let mut names: Vec<String> = Vec::new();
    names.extend(arg.get_short().map(|short| format!("*-{short}*")));
    names.extend(arg.get_long().map(|long| format!("*--{}*", escape(long))));
    let mut form = names.join(", ");
    if arg.get_action().takes_values() {
        let named = arg.get_value_names().unwrap_or_default();
        let value = named
            .first()
            .map_or(arg.get_id().as_str(), |name| name.as_str());
        let space = if form.is_empty() { "" } else { " " };
        let _ = write!(form, "{space}_{}_", escape(value));
    }
    form
}

fn possible(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_possible_values();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    names.join(", ")
}

fn default(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_default_values();
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    values.join(" ")
}

/// A line of usage with its names bold and its values underlined.
fn call(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        if let Some(value) = word.strip_prefix('<') {
            format!("_{}_", escape(value.trim_end_matches('>')))
        } else if word.starts_with('[') {
            escape(word)
        } else {
            format!("*{}*", escape(word))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Help text as one paragraph that ends with a full stop.
fn sentence(text: &StyledStr) -> String {
    let text = text.to_string();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !line.ends_with(['.', ']']) {
        line.push('.');
    }
    escape(&line)
}

/// Text in which nothing means anything to scdoc.
fn escape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(
            character,
            '\\' | '*' | '_' | '#' | '`' | '+' | '|' | '[' | ']' | '.' | '-' | '<' | '~'
        ) {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Command {
        Command::new("sample")
            .arg(
                Arg::new("file")
                    .long("file_name")
                    .value_name("FILE")
                    .help("A *file*"),
            )
            .subcommand(
                Command::new("group").subcommand_required(true).subcommand(
                    Command::new("act").about("Acts").arg(
                        Arg::new("how")
                            .long("how")
                            .default_value("well")
                            .value_parser(["well", "badly"]),
                    ),
                ),
            )
            .subcommand(Command::new("secret").hide(true).about("Hides"))
    }

    #[test]
    fn a_page_has_what_the_help_has() {
        let page = scdoc(sample());
        for part in [
            "# OPTIONS\n\n*--file\\_name* _FILE_\n\tA \\*file\\*\\.\n",
            "*sample* *group* *act* \\[OPTIONS\\]\n\tActs\\.\n",
            "\t*--how* _how_\n\t\tOne of: well, badly. Without it: well.\n",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        for hidden in ["secret", "Hides", "*help*"] {
            assert!(!page.contains(hidden), "{hidden:?} in\n{page}");
        }
    }

    #[test]
    fn scripts_complete_what_is_shown() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions("sample", &sample(), shell)).unwrap();
            for part in ["file_name", "group", "act", "badly"] {
                assert!(script.contains(part), "{shell}: {part}");
            }
            assert!(!script.contains("secret"), "{shell}");
        }
    }
}
