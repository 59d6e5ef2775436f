//! A table of what was measured, as text, and its place in a page: between the lines `<!-- NAME -->` and `<!-- /NAME -->`.

use core::fmt::Write as _;
use core::ops::Range;

/// The lines as a table, the first of them its head. Numbers stand at the right: the cells of these columns.
#[must_use]
pub fn table(lines: &[Vec<String>], numbers: Range<usize>) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text.push('|');
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = match numbers.contains(&column) {
                true => write!(text, " {cell:>width$} |"),
                false => write!(text, " {cell:width$} |"),
            };
        }
        text.push('\n');
        if number == 0 {
            text.push('|');
            for (column, width) in widths.iter().enumerate() {
                let end = if numbers.contains(&column) { ':' } else { '-' };
                let _ = write!(text, "{}{end}|", "-".repeat(width + 1));
            }
            text.push('\n');
        }
    }
    text
}

/// The cells of the table of this name, without its head.
///
/// # Errors
/// That the page has no place for it.
pub fn cells<'p>(page: &'p str, name: &str) -> Result<Vec<Vec<&'p str>>, String> {
    let [_, table, _] = parts(page, name)?;
    let cells = |line: &'p str| line.trim_matches('|').split('|').map(str::trim).collect();
    Ok(table.lines().skip(2).map(cells).collect())
}

/// The page with this table in the place of this name.
///
/// # Errors
/// That there is none.
pub fn replaced(page: &str, name: &str, table: &str) -> Result<String, String> {
    let [before, _, after] = parts(page, name)?;
    Ok(format!("{before}{table}{after}"))
}

/// What stands before the table, the table, and what stands behind it.
fn parts<'p>(page: &'p str, name: &str) -> Result<[&'p str; 3], String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let place = page.find(&begin).and_then(|at| {
        let start = at + begin.len();
        Some((start, start + page[start..].find(&end)?))
    });
    let (start, stop) = place
        .ok_or_else(|| format!("the page has no table: it stands between {} and {end}", begin.trim_end()))?;
    Ok([&page[..start], &page[start..stop], &page[stop..]])
}
