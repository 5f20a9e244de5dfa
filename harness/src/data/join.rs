//! Tables joined by id, as in the stack-exchange sets: pairs of ids beside a table of texts for each.
use super::config::{Join, resolve};
use super::nearest::one_of;
use super::read::read_tables;
use super::row::{Table, scalar_text};
use super::source::Source;
use model_qwen2::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// How one join went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReport {
    /// The column of ids.
    pub column: String,
    /// The table joined, as configured.
    pub table: PathBuf,
    /// Rows left out because the table has no such id.
    pub missing: usize,
    /// The first few of those ids, as text.
    pub missing_ids: Vec<String>,
    /// Rows of the table left out because an earlier one has their id.
    pub duplicate_keys: usize,
}

/// How many ids or places a report lists.
pub(super) const FIRST_FEW: usize = 5;

/// Adds the columns that `join` takes to every row of `table`. Ids are compared as text, so 7 and "7" are the same. Rows
/// whose id the joined table has not are left out and counted.
pub(super) fn join(mut table: Table, join: &Join, base: &Path) -> Result<(Table, JoinReport)> {
    let other = read_tables(&Source::find(&[resolve(base, &join.table)])?.all())?;
    column(&table, &join.column)?;
    column(&other, &join.key)?;
    for (from, to) in &join.take {
        column(&other, from)?;
        if table.columns.contains(to) {
            let expected = format!("a new name for column {from:?}");
            return Err(Error::invalid(
                table.name(),
                format!("join on {:?}", join.column),
                expected,
                format!("{to:?}, which is there"),
            ));
        }
        table.columns.push(to.clone());
    }
    let mut report = JoinReport {
        column: join.column.clone(),
        table: join.table.clone(),
        missing: 0,
        missing_ids: Vec::new(),
        duplicate_keys: 0,
    };
    let mut index: HashMap<String, usize> = HashMap::with_capacity(other.rows.len());
    for (i, row) in other.rows.iter().enumerate() {
        let Some(id) = row.get(&join.key).and_then(scalar_text) else {
            let found = row.get(&join.key).map_or("no such column", super::row::type_name);
            let field = format!("{}, column {:?}", other.places[i], join.key);
            return Err(Error::invalid(
                other.file(i),
                field,
                "an id, a string or a number",
                found,
            ));
        };
        match index.entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => report.duplicate_keys += 1,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(i);
            }
        }
    }
    let mut kept = Vec::with_capacity(table.rows.len());
    for (i, row) in table.rows.iter_mut().enumerate() {
        let id = row.get(&join.column).unwrap_or(&Value::Null);
        let Some(&found) = scalar_text(id).and_then(|id| index.get(&id)) else {
            report.missing += 1;
            if report.missing_ids.len() < FIRST_FEW {
                report
                    .missing_ids
                    .push(scalar_text(id).unwrap_or_else(|| id.to_string()));
            }
            continue;
        };
        for (from, to) in &join.take {
            row.insert(to.clone(), other.rows[found].get(from).cloned().unwrap_or(Value::Null));
        }
        kept.push(i);
    }
    if kept.is_empty() {
        let ids = report.missing_ids.join(", ");
        let field = format!("join on {:?}", join.column);
        return Err(Error::invalid(
            table.name(),
            field,
            format!("ids that {} has in {:?}", join.table.display(), join.key),
            format!("none of them; the first are {ids}"),
        ));
    }
    Ok((table.select(kept.into_iter()), report))
}

/// Checks that `table` has the column.
fn column(table: &Table, name: &str) -> Result<()> {
    if table.columns.iter().any(|c| c == name) {
        return Ok(());
    }
    Err(Error::invalid(
        table.name(),
        format!("column {name:?}"),
        one_of(name, &table.columns),
        "no such column",
    ))
}
