//! From a configuration to samples, with a report of what was left out.
use super::build::{pass_through, sample, variables};
use super::config::{DatasetConfig, DatasetType, Empty, Split, TestSize, resolve};
use super::expression::{Expression, check};
use super::join::{FIRST_FEW, JoinReport, join};
use super::layout::Layout;
use super::nearest::one_of;
use super::read::read_tables;
use super::row::{Fault, Place, Row, Table, columns};
use super::sample::Sample;
use super::shuffle::permutation;
use super::slice::parse;
use super::source::Source;
use model_qwen2::{Error, Result};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(super) mod tests;

/// Samples, ready for a tokenizer.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The type found or declared.
    pub kind: DatasetType,
    /// The samples, in the order of the files.
    pub items: Vec<Item>,
    /// Variables of the chat template that hold for all samples.
    pub variables: Row,
    /// The files that [`Item::place`] counts in.
    pub files: Vec<PathBuf>,
}

/// A sample and what came with it.
#[derive(Clone, Debug)]
pub struct Item {
    /// What the row means.
    pub sample: Sample,
    /// Variables of the chat template for this sample alone (`tools`, the row's `chat_template_kwargs`).
    pub variables: Row,
    /// Columns that play no role, or those that `pass_through` names.
    pub columns: Row,
    /// Every column of the row, those of joins and functions too: what rewards see.
    pub row: Row,
    /// The row's number in the split, from 0, counted before anything is left out.
    pub index: usize,
    /// Where the row is.
    pub place: Place,
}

impl Dataset {
    /// The chat template's variables for sample `i`: its own win over the dataset's.
    pub fn variables(&self, i: usize) -> Row {
        let mut all = self.variables.clone();
        all.extend(self.items[i].variables.clone());
        all
    }

    /// The columns of the dataset, each once, in the order of first sight.
    pub fn columns(&self) -> Vec<String> {
        let rows = self.items.iter().map(|item| &item.row);
        columns(rows)
    }

    /// The file of sample `i`, for messages beside [`Item::place`].
    pub fn file(&self, i: usize) -> &Path {
        &self.files[self.items[i].place.file as usize]
    }
}

/// What [`load`] read and what it left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files read.
    pub files: Vec<PathBuf>,
    /// Rows of the split, before joins.
    pub rows: usize,
    /// Samples given.
    pub samples: usize,
    /// Samples held out by `test_size`, or left to training where these are the ones held out.
    pub set_aside: usize,
    /// How each join went.
    pub joins: Vec<JoinReport>,
    /// Samples left out because they are empty.
    pub empty: usize,
    /// The first few of those, as "file: line 3: completion".
    pub empty_places: Vec<String>,
}

impl Report {
    /// One line for each thing to warn about.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for join in &self.joins {
            let (table, column) = (join.table.display(), &join.column);
            if join.missing > 0 {
                let (missing, ids) = (join.missing, join.missing_ids.join(", "));
                lines.push(format!(
                    "{missing} of {} rows skipped: {table} has no such {column} (first: {ids})",
                    self.rows
                ));
            }
            if join.duplicate_keys > 0 {
                lines.push(format!(
                    "{} rows of {table} left out: their id is there before",
                    join.duplicate_keys
                ));
            }
        }
        if self.empty > 0 {
            lines.push(format!(
                "{} empty samples dropped (first: {})",
                self.empty,
                self.empty_places.join("; ")
            ));
        }
        lines
    }
}

/// Loads the rows of `split`; relative paths start at `base_dir`.
///
/// # Errors
/// Whatever is wrong with the files or with the configuration for them; an empty sample unless `empty = "drop"`; no sample left.
pub fn load(config: &DatasetConfig, base_dir: &Path, split: Split) -> Result<(Dataset, Report)> {
    let paths: Vec<PathBuf> = config.path.0.iter().map(|path| resolve(base_dir, path)).collect();
    let source = Source::find(&paths)?;
    let mut table = read_split(config, &source, &paths, split)?;
    let mut report = Report {
        files: table.files.clone(),
        rows: table.rows.len(),
        ..Report::default()
    };
    let mut index: Vec<usize> = (0..table.rows.len()).collect();
    for wanted in &config.join {
        let places = table.places.clone();
        let (joined, how) = join(table, wanted, base_dir)?;
        index = survivors(&index, &places, &joined.places);
        table = joined;
        report.joins.push(how);
    }
    add_functions(config, &mut table)?;
    let layout = Layout::find(config, &table)?;
    check_options(config, &layout, &table)?;
    let mut items = Vec::with_capacity(table.rows.len());
    for (i, row) in std::mem::take(&mut table.rows).into_iter().enumerate() {
        let at = |field: &str| format!("{}, {field}", table.places[i]);
        let sample = sample(config, &layout, &row).map_err(|(field, fault)| fault.at(table.file(i), at(&field)))?;
        if let Some(part) = sample.empty_part() {
            if config.empty == Empty::Error {
                let expected = format!("{part} with something in it (empty = \"drop\" leaves such samples out)");
                return Err(Error::invalid(table.file(i), at(part), expected, "an empty one"));
            }
            report.empty += 1;
            if report.empty_places.len() < FIRST_FEW {
                report
                    .empty_places
                    .push(format!("{}: {}", table.file(i).display(), at(part)));
            }
            continue;
        }
        let variables = variables(&layout, &row).map_err(|(field, fault)| fault.at(table.file(i), at(&field)))?;
        let columns = pass_through(config, &layout, &row);
        items.push(Item {
            sample,
            variables,
            columns,
            row,
            index: index[i],
            place: table.places[i],
        });
    }
    if items.is_empty() {
        return Err(Error::invalid(
            table.name(),
            "dataset",
            "at least one sample",
            format!("none of {} rows makes one", report.rows),
        ));
    }
    if let Some(size) = config.test_size {
        let all = items.len();
        items = part(items, size, config.test_seed, split).map_err(|fault| fault.at(table.name(), "test_size"))?;
        report.set_aside = all - items.len();
    }
    report.samples = items.len();
    let variables = config.chat_template_kwargs.clone();
    Ok((
        Dataset {
            kind: layout.kind,
            items,
            variables,
            files: table.files,
        },
        report,
    ))
}

/// The rows of the split that the configuration names, or the default one.
fn read_split(config: &DatasetConfig, source: &Source, paths: &[PathBuf], split: Split) -> Result<Table> {
    let root = paths.first().map_or(Path::new("dataset"), |p| p);
    if split == Split::Eval && config.holds_out() {
        let expected = "neither test_size nor test_split in a section that is for evaluation";
        return Err(Error::invalid(root, "dataset", expected, "one of them"));
    }
    if config.test_size.is_some() && config.test_split.is_some() {
        return Err(Error::invalid(
            root,
            "test_size",
            "either test_size or test_split",
            "both",
        ));
    }
    let spec = match (split, config.test_size) {
        (Split::HeldOut, None) => &config.test_split,
        _ => &config.split,
    };
    let default = || match split {
        Split::Train => source.train(),
        Split::Eval => source.eval(),
        Split::HeldOut if config.test_size.is_some() => source.train(),
        Split::HeldOut => source.held_out().ok_or_else(|| {
            Error::invalid(
                root,
                "held-out split",
                "test_size, test_split or a folder with a test split",
                "none of them",
            )
        }),
    };
    let Some(spec) = spec else {
        return read_tables(default()?);
    };
    let mut table: Option<Table> = None;
    for slice in parse(spec).map_err(|fault| fault.at(root, "split"))? {
        let files = if slice.name.is_empty() {
            default()?
        } else {
            source.split(&slice.name)?
        };
        let rows = read_tables(files)?;
        let range = slice.range(rows.rows.len());
        let rows = rows.select(range);
        match &mut table {
            Some(all) => all.append(rows),
            None => table = Some(rows),
        }
    }
    table
        .filter(|t| !t.rows.is_empty())
        .ok_or_else(|| Error::invalid(root, format!("split {spec:?}"), "at least one row", "none"))
}

/// The row numbers of those rows of `before` that are in `after`, which keeps their order.
fn survivors(index: &[usize], before: &[Place], after: &[Place]) -> Vec<usize> {
    let mut after = after.iter().peekable();
    let kept = index
        .iter()
        .zip(before)
        .filter(|(_, place)| after.next_if_eq(place).is_some());
    kept.map(|(i, _)| *i).collect()
}

/// Adds the columns that `functions` declares.
fn add_functions(config: &DatasetConfig, table: &mut Table) -> Result<()> {
    let mut parsed = Vec::new();
    for (name, source) in &config.functions {
        let field = || format!("functions.{name}");
        if table.columns.contains(name) {
            return Err(Error::invalid(
                table.name(),
                field(),
                "a name that no column has",
                format!("{name:?}, which is there"),
            ));
        }
        let expression = Expression::parse(source).map_err(|fault| fault.at(table.name(), field()))?;
        check(&expression, &table.columns).map_err(|fault| fault.at(table.name(), field()))?;
        parsed.push((name, expression));
    }
    for (i, row) in table.rows.iter_mut().enumerate() {
        let mut values = Vec::with_capacity(parsed.len());
        for (name, expression) in &parsed {
            let place = table.places[i];
            let at = |fault: Fault| fault.at(&table.files[place.file as usize], format!("{place}, functions.{name}"));
            values.push(((*name).clone(), expression.eval(row).map_err(at)?));
        }
        row.extend(values);
    }
    table.columns.extend(parsed.into_iter().map(|(name, _)| name.clone()));
    Ok(())
}

/// Refuses options that this type of data would ignore, and columns to pass through that are not there.
fn check_options(config: &DatasetConfig, layout: &Layout, table: &Table) -> Result<()> {
    if layout.kind == DatasetType::LanguageModeling {
        let field = if config.conversational {
            Some("conversational")
        } else {
            config.system_prompt.as_ref().map(|_| "system_prompt")
        };
        if let Some(field) = field {
            return Err(Error::invalid(
                table.name(),
                field,
                "prompts or messages",
                "plain text, which has no turns",
            ));
        }
    }
    for name in config.pass_through.iter().flatten() {
        if !table.columns.contains(name) {
            return Err(Error::invalid(
                table.name(),
                format!("pass_through column {name:?}"),
                one_of(name, &table.columns),
                "no such column",
            ));
        }
    }
    Ok(())
}

/// The samples that `test_size` leaves to training or holds out, both in the order of the files.
fn part(items: Vec<Item>, size: TestSize, seed: u64, split: Split) -> Result<Vec<Item>, Fault> {
    let n = items.len();
    let test = match size {
        TestSize::Count(count) => count,
        TestSize::Fraction(f) if f > 0.0 && f < 1.0 => (f * n as f64).ceil() as usize,
        TestSize::Fraction(f) => {
            return Err(Fault::new(
                "a fraction above 0 and below 1, or a whole number",
                f.to_string(),
            ));
        }
    };
    if test == 0 || test >= n {
        return Err(Fault::new(
            format!("1 to {} of {n} samples", n.saturating_sub(1)),
            test.to_string(),
        ));
    }
    let mut held_out = vec![false; n];
    // A key of its own: epochs count up from 0.
    for i in &permutation(seed, u64::MAX, n)[..test] {
        held_out[*i as usize] = true;
    }
    let wanted = split == Split::HeldOut;
    Ok(items
        .into_iter()
        .zip(held_out)
        .filter(|(_, held)| *held == wanted)
        .map(|(item, _)| item)
        .collect())
}
