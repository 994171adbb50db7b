//! The findings as a page for a terminal of 80 columns, the worst first.

use super::finding::{Finding, Grade};
use crate::table::Colour;

/// Columns of a page.
const WIDTH: usize = 80;
/// Where the text begins: behind the grade and what it is about.
const INDENT: usize = 22;

/// All findings, and how many of each kind.
pub(crate) fn page(findings: &[Finding], colour: bool) -> String {
    let count = |grade| findings.iter().filter(|one| one.grade == grade).count();
    let mut page = format!(
        "{} bad, {} weak, {} ok\n\n",
        count(Grade::Bad),
        count(Grade::Weak),
        count(Grade::Ok)
    );
    for grade in [Grade::Bad, Grade::Weak, Grade::Ok] {
        for finding in findings.iter().filter(|one| one.grade == grade) {
            entry(&mut page, finding, colour);
        }
    }
    page
}

fn entry(page: &mut String, finding: &Finding, colour: bool) {
    let word = format!("{:<5}", finding.grade.as_str());
    let word = if colour {
        shade(finding.grade).paint(&word)
    } else {
        word
    };
    let about = format!("{:<width$}", finding.about, width = INDENT - 6);
    let mut lines = wrap(&finding.what, WIDTH - INDENT).into_iter();
    page.push_str(&format!(
        "{word} {about}{}\n",
        lines.next().unwrap_or_default()
    ));
    let mend = finding
        .mend
        .iter()
        .flat_map(|mend| wrap(&format!("-> {mend}"), WIDTH - INDENT));
    for line in lines.chain(mend) {
        page.push_str(&format!("{:INDENT$}{line}\n", ""));
    }
}

fn shade(grade: Grade) -> Colour {
    match grade {
        Grade::Bad => Colour::Red,
        Grade::Weak => Colour::Yellow,
        Grade::Ok => Colour::Green,
    }
}

/// Lines of at most `width` characters, broken at spaces; a longer word has a line of its own. What is
/// no printable character is left out: names come from files.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|letter| !letter.is_control()).collect();
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "Linux 6.12.1"),
            Finding::weak(
                "landlock",
                "a worker can signal the daemon and the workers of other servers, because the kernel is old",
                "boot Linux 6.12 or newer",
            ),
            Finding::bad("configuration", "no\x1b[2J good", "mend it"),
        ]
    }

    #[test]
    fn the_worst_comes_first_and_nothing_is_wider_than_a_terminal() {
        assert_eq!(
            page(&findings(), false),
            "1 bad, 1 weak, 1 ok\n\n\
             bad   configuration   no[2J good\n                      -> mend it\n\
             weak  landlock        a worker can signal the daemon and the workers of other\n\
             \x20                     servers, because the kernel is old\n\
             \x20                     -> boot Linux 6.12 or newer\n\
             ok    kernel          Linux 6.12.1\n"
        );
        let long = "x".repeat(70) + " " + &"word ".repeat(40);
        for line in wrap(&long, 58).iter().skip(1) {
            assert!(line.len() <= 58, "{line}");
        }
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let mut plain = page(&findings(), true);
        for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, page(&findings(), false));
    }
}
