//! Which known word somebody meant who wrote an unknown one. Pure.

/// Longer words are not looked at: nobody mistypes 64 characters, and the work is quadratic.
const LONGEST_WORD: usize = 64;

/// The nearest of the known words, if one is near enough to be meant: at most a third of the
/// letters differ, or one is the beginning or the end of the other.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.is_empty() || word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let mut best = None;
    for candidate in known {
        let part = word.len() >= 3
            && (candidate.starts_with(&word)
                || candidate.ends_with(&word)
                || word.starts_with(candidate)
                || word.ends_with(candidate));
        let distance = distance(&word, candidate);
        let limit = (word.len().max(candidate.len()) / 3).max(1);
        if (distance <= limit || part) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, replace, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = [
            "min_size",
            "max_size",
            "max_age",
            "max_calls",
            "acquire_timeout",
        ];
        let table = [
            ("minsize", Some("min_size")),
            ("min-size", Some("min_size")),
            ("mni_size", Some("min_size")),
            ("max_sise", Some("max_size")),
            ("acquire", Some("acquire_timeout")),
            ("timeout", Some("acquire_timeout")),
            ("breaker", None),
            ("", None),
            ("x", None),
        ];
        for (word, meant) in table {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"min_size".repeat(9), known), None);
    }

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("ab", "xy", 2),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
