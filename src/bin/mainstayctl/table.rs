//! A table as aligned text. It knows nothing of what is in it.

/// How a cell may be dressed on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// As all other text.
    Plain,
    /// Emphasis.
    Bold,
    /// All is well.
    Green,
    /// Something is missing.
    Yellow,
    /// Something is down.
    Red,
}

impl Colour {
    /// `text` in this colour. Escape sequences have no width, so this comes after alignment.
    pub(crate) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => 1,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Colour,
}

impl Cell {
    /// A cell in a colour.
    pub(crate) fn coloured(text: impl Into<String>, colour: Colour) -> Self {
        Self {
            text: text.into(),
            colour,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::coloured(text, Colour::Plain)
    }
}

/// On which side of its column a cell stands: text left, numbers right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Columns two spaces apart, the heads in capitals above them, no trailing spaces.
pub(crate) fn table(heads: &[(&str, Side)], rows: &[Vec<Cell>], colour: bool) -> String {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, (head, _))| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| width(&cell.text))
                .fold(width(head), usize::max)
        })
        .collect();
    let head: Vec<Cell> = heads
        .iter()
        .map(|(head, _)| Cell::coloured(head.to_uppercase(), Colour::Bold))
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut gap = 0;
        for ((cell, (_, side)), full) in row.iter().zip(heads).zip(&widths) {
            let pad = full.saturating_sub(width(&cell.text));
            let (before, after) = match side {
                Side::Left => (0, pad),
                Side::Right => (pad, 0),
            };
            text.extend(std::iter::repeat_n(' ', gap + before));
            text.push_str(&if colour {
                cell.colour.paint(&cell.text)
            } else {
                cell.text.clone()
            });
            gap = after + 2;
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_left_numbers_right() {
        let rows = [
            vec!["a".into(), "1000".into(), "x".into()],
            vec!["bär".into(), "7".into(), "".into()],
        ];
        let heads = [("n", Side::Left), ("c", Side::Right), ("last", Side::Left)];
        assert_eq!(
            table(&heads, &rows, false),
            "N       C  LAST\na    1000  x\nbär     7\n"
        );
    }

    #[test]
    fn colour_changes_no_width() {
        let rows = [vec![Cell::coloured("ok", Colour::Green), "1".into()]];
        let heads = [("health", Side::Left), ("n", Side::Right)];
        let coloured = table(&heads, &rows, true);
        assert_eq!(
            coloured,
            "\x1b[1mHEALTH\x1b[0m  \x1b[1mN\x1b[0m\n\x1b[32mok\x1b[0m      1\n"
        );
    }
}
