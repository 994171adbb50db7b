//! `[auth]` and `[[principals]]`: who calls, and where the hashes of their tokens are. It never
//! repeats what stands in the place of a token: it may be one.

use super::guard::rate_limit;
use super::item::Item;
use super::section::path;
use super::source::Place;
use super::table::Table;
use super::{Auth, Principal, Tokens};
use crate::policy::bucket::Limit;
use crate::policy::class::Class;
use std::collections::BTreeMap;

const HASHES: &str = "[\"64 hexadecimal digits\"]";
/// What to do when a token or its hash is wrong.
const MAKE_ONE: &str = "`mainstayctl token NAME` makes a token and prints the lines to write";

/// `[auth]` and all `[[principals]]`, `limit` being `[rate_limit]`.
pub(super) fn principals(root: &Table<'_>, limit: &Limit) -> (Auth, Vec<Principal>) {
    let mut auth = Auth::default();
    let auth_table = root.table("auth");
    let required = auth_table.item("required");
    if let Some(required) = required.as_ref().and_then(Item::flag) {
        auth.required = required;
    }
    auth_table.finish();
    let tables = root.list("principals");
    if let (true, true, Some(item)) = (auth.required, tables.is_empty(), required) {
        item.wrong(format!(
            "nobody could call, there are no [[principals]]; add one: {MAKE_ONE}"
        ));
    }
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    let mut hashes: BTreeMap<[u8; 32], String> = BTreeMap::new();
    let mut principals = Vec::new();
    for table in tables {
        let read = principal(&table, limit, &mut hashes);
        match names.get(&read.name) {
            Some(first) => table.wrong(format!(
                "{} is already defined in line {}; rename or remove one",
                read.name,
                first.line.unwrap_or_default()
            )),
            None => {
                if !read.name.is_empty() {
                    names.insert(read.name.clone(), table.place().clone());
                }
            }
        }
        principals.push(read);
    }
    (auth, principals)
}

fn principal(
    table: &Table<'_>,
    limit: &Limit,
    hashes: &mut BTreeMap<[u8; 32], String>,
) -> Principal {
    let name = name(table).unwrap_or_default();
    let class = table
        .item("class")
        .and_then(|item| item.choice(Class::NAMES));
    let tokens = tokens(table).unwrap_or_else(|| Tokens::Hashes(Vec::new()));
    if let Tokens::Hashes(list) = &tokens {
        for hash in list {
            if let Some(other) = hashes.insert(*hash, name.clone()) {
                table.wrong(format!(
                    "has a token that {other} has too; give each its own: {MAKE_ONE}"
                ));
            }
        }
    }
    let limit_table = table.table("rate_limit");
    let rate_limit = limit_table
        .is_there()
        .then(|| rate_limit(&limit_table, limit));
    table.refuse(
        "token",
        &format!("a token does not belong into a configuration, only its hash; {MAKE_ONE}"),
    );
    table.finish();
    Principal {
        name,
        class: class.unwrap_or_default(),
        tokens,
        rate_limit,
    }
}

fn name(table: &Table<'_>) -> Option<String> {
    let Some(item) = table.item("name") else {
        table.wrong("has no `name`; add one, such as name = \"alice\"");
        return None;
    };
    let text = item.text("\"alice\"")?;
    if let Err(why) = check_name(text) {
        item.wrong(why);
        return None;
    }
    Some(text.to_owned())
}

/// Whether a text can be the name of a principal.
///
/// # Errors
/// Why it cannot.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    let bytes = text.bytes();
    let mut letters = bytes.map(|b| b.is_ascii_alphanumeric() || b"_-.@".contains(&b));
    if !(1..=64).contains(&text.len()) || !letters.all(|good| good) {
        return Err("is no name of a principal; use 1 to 64 of the characters A-Z a-z 0-9 _ - . @");
    }
    if text.starts_with("anonymous") {
        return Err(
            "begins with \"anonymous\", as the names of callers without a token do; \
                    choose another",
        );
    }
    Ok(())
}

/// `token_sha256`, `token_file` or `token_credential`: exactly one.
fn tokens(table: &Table<'_>) -> Option<Tokens> {
    let hashes = table.item("token_sha256");
    let file = table.find("token_file").is_some();
    let path = path(table, "token_file", "\"/etc/mainstay/alice.sha256\"");
    let credential = table.item("token_credential");
    let given = usize::from(hashes.is_some()) + usize::from(file);
    match given + usize::from(credential.is_some()) {
        1 => {}
        0 => {
            table.wrong(format!(
                "has no token; add `token_sha256`, `token_file` or `token_credential`: {MAKE_ONE}"
            ));
            return None;
        }
        _ => {
            table.wrong("has its tokens in more than one place; keep one of `token_sha256`, `token_file`, `token_credential`");
            return None;
        }
    }
    if let Some(item) = hashes {
        return hash_list(&item).map(Tokens::Hashes);
    }
    if file {
        return path.map(Tokens::File);
    }
    let item = credential?;
    let text = item.text("\"alice\"")?;
    if !is_credential(text) {
        item.wrong("is no name of a credential; write it as in LoadCredential=, without a path");
        return None;
    }
    Some(Tokens::Credential(text.to_owned()))
}

/// A hash, or a list of them: two, while one takes the place of the other.
fn hash_list(item: &Item<'_>) -> Option<Vec<[u8; 32]>> {
    let items = match item.value.as_str() {
        Some(text) => return hash(item, text).map(|hash| vec![hash]),
        None => item.items(HASHES)?,
    };
    if items.is_empty() {
        item.wrong(format!("is empty; {MAKE_ONE}"));
    }
    let hashes = items
        .iter()
        .map(|item| item.text(HASHES).and_then(|text| hash(item, text)));
    hashes.collect()
}

fn hash(item: &Item<'_>, text: &str) -> Option<[u8; 32]> {
    let hash = parse_hash(text);
    if hash.is_none() {
        item.wrong(format!(
            "is no SHA-256 in hexadecimal, which has 64 digits; {MAKE_ONE}"
        ));
    }
    hash
}

/// A SHA-256 in 64 hexadecimal digits.
#[must_use]
pub fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// A name that systemd accepts: a file name, no path.
fn is_credential(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        && text != "."
        && text != ".."
}
