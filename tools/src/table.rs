//! Tables of plain text, for people at a terminal.

use console::{Term, measure_text_width};

const GAP: &str = "  ";
/// No column is made narrower than this to fit the terminal.
const NARROWEST: usize = 6;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text under titles. Columns are as wide as their content; where that is wider than the terminal, the widest
/// give way and their texts end in an ellipsis. Control characters never reach the terminal.
#[derive(Debug, Clone)]
pub struct Table {
    titles: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<'a>(titles: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let titles = titles.into_iter().map(|(title, align)| (harmless(title), align)).collect();
        Self { titles, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, and there are no more cells than titles.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| harmless(cell.as_ref())).collect();
        cells.resize(self.titles.len(), String::new());
        self.rows.push(cells);
    }

    /// Whether it has rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, at most `width` columns wide if given and at all possible.
    pub fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let titles: Vec<String> = self.titles.iter().map(|(title, _)| title.clone()).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &(_, align)), &width) in row.iter().zip(&self.titles).zip(&widths) {
                line.push_str(&padded(cell, align, width));
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.titles.iter().map(|(title, _)| measure_text_width(title)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let Some(limit) = limit.map(|limit| limit.saturating_sub(gaps)) else { return widths };
        while widths.iter().sum::<usize>() > limit {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// The width of the terminal that standard output is; `None` for a file or a pipe, which have no end of line.
pub fn terminal_width() -> Option<usize> {
    let term = Term::stdout();
    if !term.is_term() {
        return None;
    }
    term.size_checked().map(|(_, columns)| usize::from(columns))
}

fn padded(cell: &str, align: Align, width: usize) -> String {
    let cell = console::truncate_str(cell, width, "…");
    let padding = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
    match align {
        Align::Left => format!("{cell}{padding}"),
        Align::Right => format!("{padding}{cell}"),
    }
}

/// Text from users' files without what a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([("id", Align::Left), ("score", Align::Right), ("section", Align::Left)]);
        table.row(["0ad", "0.91", "games"]);
        table.row(["a-package-with-a-rather-long-name", "12.5", "python"]);
        table.row(["short"]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let text = "\
id                                 score  section
0ad                                 0.91  games
a-package-with-a-rather-long-name   12.5  python
short
";
        assert_eq!(sample().render(None), text);
    }

    #[test]
    fn the_widest_column_gives_way() {
        let text = sample().render(Some(30));
        assert!(text.lines().all(|line| measure_text_width(line) <= 30), "{text}");
        assert!(text.contains("a-package-wit…   12.5  python"), "{text}");
        sample().render(Some(0));
        sample().render(Some(1));
    }

    #[test]
    fn wide_letters_count_twice_and_control_characters_are_replaced() {
        let mut table = Table::new([("id", Align::Left), ("n", Align::Right)]);
        table.row(["検索", "1"]);
        table.row(["a\u{1b}[31mb\n", "2"]);
        assert_eq!(table.render(None), "id        n\n検索      1\na\u{fffd}[31mb\u{fffd}  2\n");
    }
}
