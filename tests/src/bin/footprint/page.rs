//! The table as text, and its copy in `docs/budgets.md`.

use tuffet_tests::page;

use crate::Failure;
use crate::firmware::OPTIMISATIONS;
use crate::table::Row;

/// The name of the table in the page.
const NAME: &str = "footprint";

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
    page::table(&lines, 1..4)
}

/// The page with this table in it.
pub(crate) fn replaced(page: &str, table: &str) -> Result<String, Failure> {
    page::replaced(page, NAME, table).map_err(Failure::Refused)
}

/// What the page records otherwise than it was measured.
pub(crate) fn differences(page: &str, rows: &[Row]) -> Result<Vec<String>, Failure> {
    let recorded = page::cells(page, NAME).map_err(Failure::Refused)?;
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
        let empty = "# Budgets\n\n<!-- footprint -->\n<!-- /footprint -->\n".to_owned();
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
