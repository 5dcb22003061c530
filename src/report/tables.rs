//! Tables on a terminal, as every command prints them.

use comfy_table::{CellAlignment, Table, presets};

/// A table whose first column is text and whose others are figures.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(headings);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Adds a row.
pub(crate) fn add(table: &mut Table, name: &str, figures: &[String]) {
    table.add_row([name].into_iter().chain(figures.iter().map(String::as_str)));
}

/// Text without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
