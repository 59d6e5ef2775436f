//! The table as text, and its copy in `docs/budgets.md`.

use core::fmt::Write as _;

use crate::Failure;
use crate::firmware::OPTIMISATIONS;
use crate::table::Row;

/// Between these lines of the page is the table.
const BEGIN: &str = "<!-- footprint -->\n";
const END: &str = "<!-- /footprint -->";

/// The table.
pub(crate) fn text(rows: &[Row]) -> String {
    let [held, other] = OPTIMISATIONS;
    let head = ["what".to_owned(), format!("measured, `{held}`"), format!("`{other}`")];
    let head = head.into_iter().chain(["budget".to_owned(), "verdict".to_owned()]);
    let mut lines = vec![head.collect::<Vec<_>>()];
    for row in rows {
        let budget = row.budget.map(|budget| budget.text());
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let (held, other) = (row.held.text(), row.other.text());
        lines.push(vec![row.what.to_owned(), held, other, dash(budget), dash(row.verdict())]);
    }
    let widths: Vec<usize> = (0..5)
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text.push('|');
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Numbers stand at the right.
            let _ = match column {
                1..=3 => write!(text, " {cell:>width$} |"),
                _ => write!(text, " {cell:width$} |"),
            };
        }
        text.push('\n');
        if number == 0 {
            text.push('|');
            for (column, width) in widths.iter().enumerate() {
                let end = if (1..=3).contains(&column) { ':' } else { '-' };
                let _ = write!(text, "{}{end}|", "-".repeat(width + 1));
            }
            text.push('\n');
        }
    }
    text
}

/// The page with this table in it.
pub(crate) fn replaced(page: &str, table: &str) -> Result<String, Failure> {
    let [before, _, after] = parts(page)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// What the page records otherwise than it was measured.
pub(crate) fn differences(page: &str, rows: &[Row]) -> Result<Vec<String>, Failure> {
    let [_, table, _] = parts(page)?;
    let recorded: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut differences = Vec::new();
    if !recorded.iter().map(|cells| cells.first().copied()).eq(rows.iter().map(|row| Some(row.what))) {
        differences.push("docs/budgets.md has other rows; run with --update".to_owned());
        return Ok(differences);
    }
    for (row, cells) in rows.iter().zip(recorded) {
        let budget = row.budget.map_or_else(|| "-".to_owned(), |budget| budget.text());
        let is_true = match cells.as_slice() {
            [_, held, other, limit, ..] => {
                row.held.is_recorded_as(held) && row.other.is_recorded_as(other) && *limit == budget
            }
            _ => false,
        };
        if !is_true {
            let (what, held, other) = (row.what, row.held.text(), row.other.text());
            differences.push(format!(
                "docs/budgets.md does not say {held} and {other} of \"{what}\"; run with --update"
            ));
        }
    }
    Ok(differences)
}

/// What stands before, between and behind the two lines.
fn parts(page: &str) -> Result<[&str; 3], Failure> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some([before, table, after])
    });
    parts.ok_or_else(|| {
        Failure::Refused(format!(
            "docs/budgets.md has no table: it stands between {} and {END}",
            BEGIN.trim_end()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Number;

    #[test]
    fn page_with_another_number_or_budget_differs() {
        let row = |held, other, budget| Row {
            what: "flash",
            held: Number::Bytes(held),
            other: Number::Bytes(other),
            budget: Some(Number::Bytes(budget)),
        };
        let empty = format!("# Budgets\n\n{BEGIN}{END}\n");
        let rows = [row(35_520, 39_432, 36_864)];
        assert_eq!(differences(&empty, &rows).ok().unwrap().len(), 1);
        let page = replaced(&empty, &text(&rows)).ok().unwrap();
        assert_eq!(differences(&page, &rows).ok().unwrap(), [""; 0]);
        for changed in [row(35_521, 39_432, 36_864), row(35_520, 1, 36_864), row(35_520, 39_432, 1)] {
            assert_eq!(differences(&page, &[changed]).ok().unwrap().len(), 1);
        }
        assert!(replaced("# Budgets\n", "").is_err());
    }
}
