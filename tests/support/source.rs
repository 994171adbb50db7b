//! Rust source as far as the architecture test must read it: without what is not code, and as the
//! list of paths it names. No parser: what it misreads, the tables of that test show.

/// The code without comments, the contents of strings, and test modules.
pub(crate) fn bare(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let starts = |at: usize, word: &str| {
        word.chars()
            .enumerate()
            .all(|(i, c)| text.get(at + i) == Some(&c))
    };
    let until = |mut at: usize, word: &str| {
        while at < text.len() && !starts(at, word) {
            at += 1;
        }
        at + word.chars().count()
    };
    let (mut code, mut at) = (String::new(), 0);
    while at < text.len() {
        if starts(at, "//") {
            at = until(at, "\n") - 1;
        } else if starts(at, "/*") {
            let (mut depth, mut next) = (1, at + 2);
            while depth > 0 && next < text.len() {
                let (open, close) = (starts(next, "/*"), starts(next, "*/"));
                depth = if open {
                    depth + 1
                } else if close {
                    depth - 1
                } else {
                    depth
                };
                next += if open || close { 2 } else { 1 };
            }
            at = next;
        } else if starts(at, "r\"") || starts(at, "r#") && !code.ends_with(char::is_alphanumeric) {
            let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
            if text.get(at + 1 + hashes) == Some(&'"') {
                at = until(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
            } else {
                at += 2; // A raw identifier.
            }
        } else if starts(at, "\"") {
            at += 1;
            while at < text.len() && text[at] != '"' {
                at += if text[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if starts(at, "'\\") {
            at = until(at + 3, "'");
        } else if starts(at, "'") && text.get(at + 2) == Some(&'\'') {
            at += 3;
        } else {
            code.push(text[at]);
            at += 1;
        }
    }
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code.truncate(end);
    code
}

/// Every path in the code, with the braces of `use a::{b, c::d}` multiplied out.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let (code, mut at, mut found) = (code.as_bytes(), 0, Vec::new());
    while at < code.len() {
        group(code, &mut at, "", &mut found);
    }
    found
}

fn group(code: &[u8], at: &mut usize, prefix: &str, found: &mut Vec<String>) {
    while let Some(byte) = code.get(*at) {
        if is_word(*byte) {
            path(code, at, prefix, found);
        } else {
            *at += 1;
            if *byte == b'}' {
                return;
            }
        }
    }
}

fn path(code: &[u8], at: &mut usize, prefix: &str, found: &mut Vec<String>) {
    let mut name = prefix.to_owned();
    loop {
        let start = *at;
        while code.get(*at).copied().is_some_and(is_word) {
            *at += 1;
        }
        name.push_str(std::str::from_utf8(&code[start..*at]).unwrap());
        match code[*at..] {
            [b':', b':', next, ..] if is_word(next) => *at += 2,
            [b':', b':', b'{', ..] => {
                *at += 3;
                return group(code, at, &format!("{name}::"), found);
            }
            _ => return found.push(name),
        }
        name.push_str("::");
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
