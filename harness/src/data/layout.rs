//! Which columns make the samples: the type found or declared, and what fills each role.
use super::config::{DatasetConfig, DatasetType, Role};
use super::nearest::one_of;
use super::row::{Fault, Row, Table};
use super::template::Template;
use model_qwen2::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// What fills a role.
pub(super) enum Filler {
    Column(String),
    Template(Template),
}

/// How rows become samples.
pub(super) struct Layout {
    pub kind: DatasetType,
    pub roles: BTreeMap<Role, Filler>,
}

const KINDS: [DatasetType; 5] = [
    DatasetType::Preference,
    DatasetType::PromptCompletion,
    DatasetType::Messages,
    DatasetType::LanguageModeling,
    DatasetType::PromptOnly,
];

/// The roles that a type must have, and those that it may have.
fn roles(kind: DatasetType) -> (&'static [Role], &'static [Role]) {
    match kind {
        DatasetType::Preference => (&[Role::Chosen, Role::Rejected], &[Role::Prompt, Role::Tools]),
        DatasetType::PromptCompletion => (&[Role::Prompt, Role::Completion], &[Role::Tools]),
        DatasetType::Messages => (&[Role::Messages], &[Role::Tools]),
        DatasetType::LanguageModeling => (&[Role::Text], &[]),
        DatasetType::PromptOnly => (&[Role::Prompt], &[Role::Tools]),
    }
}

/// The columns that play a role unless told otherwise.
fn own_columns(role: Role) -> &'static [&'static str] {
    match role {
        Role::Text => &["text"],
        Role::Prompt => &["prompt"],
        Role::Completion => &["completion"],
        Role::Chosen => &["chosen"],
        Role::Rejected => &["rejected"],
        Role::Messages => &["messages", "conversations"],
        Role::Tools => &["tools"],
    }
}

impl Layout {
    /// The first type, in the order of [`DatasetType`], whose roles are all there and that uses every role the
    /// configuration names.
    ///
    /// # Errors
    /// A column named that no row has; a template that does not parse; no type that fits.
    pub fn find(config: &DatasetConfig, table: &Table) -> Result<Self> {
        let mut declared = declared(config, table)?;
        let own = |role: &Role| {
            own_columns(*role)
                .iter()
                .find(|name| table.columns.iter().any(|c| c == *name))
        };
        let fits = |kind: &DatasetType| {
            let (must, may) = roles(*kind);
            let there = must
                .iter()
                .all(|role| declared.contains_key(role) || own(role).is_some());
            there && declared.keys().all(|role| must.contains(role) || may.contains(role))
        };
        let found = match config.kind {
            Some(kind) => Some(kind).filter(|kind| fits(kind)),
            None => KINDS.into_iter().find(fits),
        };
        let kind = found.ok_or_else(|| unfit(config, table, declared.keys()))?;
        let (must, may) = roles(kind);
        let mut filled = BTreeMap::new();
        for role in must.iter().chain(may) {
            let filler = declared
                .remove(role)
                .or_else(|| own(role).map(|name| Filler::Column((*name).to_owned())));
            if let Some(filler) = filler {
                filled.insert(*role, filler);
            }
        }
        Ok(Self { kind, roles: filled })
    }

    /// The value of a role; `None` where the layout has no such role, null where the row has none.
    pub fn value(&self, role: Role, row: &Row) -> Result<Option<Value>, Fault> {
        match self.roles.get(&role) {
            None => Ok(None),
            Some(Filler::Template(template)) => template.render(row).map(|text| Some(Value::String(text))),
            Some(Filler::Column(name)) => match row.get(name) {
                Some(value) => Ok(Some(value.clone())),
                None if role == Role::Tools => Ok(Some(Value::Null)),
                None => Err(super::expression::missing(name, row)),
            },
        }
    }

    /// The role's column, for messages.
    pub fn column(&self, role: Role) -> &str {
        match self.roles.get(&role) {
            Some(Filler::Column(name)) => name,
            Some(Filler::Template(_)) if role == Role::Completion => "completion_template",
            Some(Filler::Template(_)) => "prompt_template",
            None => own_columns(role)[0],
        }
    }

    /// Whether `column` plays a role.
    pub fn uses(&self, column: &str) -> bool {
        self.roles
            .values()
            .any(|filler| matches!(filler, Filler::Column(name) if name == column))
    }
}

/// The roles that the configuration fills.
fn declared(config: &DatasetConfig, table: &Table) -> Result<BTreeMap<Role, Filler>> {
    let mut declared = BTreeMap::new();
    for (role, name) in &config.columns {
        if !table.columns.contains(name) {
            let field = format!("column {name:?} (columns.{})", own_columns(*role)[0]);
            return Err(Error::invalid(
                table.name(),
                field,
                one_of(name, &table.columns),
                "no such column",
            ));
        }
        declared.insert(*role, Filler::Column(name.clone()));
    }
    let templates = [
        (Role::Prompt, "prompt_template", &config.prompt_template),
        (Role::Completion, "completion_template", &config.completion_template),
    ];
    for (role, field, source) in templates {
        if let Some(source) = source {
            let template = Template::parse(source, &table.columns).map_err(|fault| fault.at(table.name(), field))?;
            if declared.insert(role, Filler::Template(template)).is_some() {
                let expected = format!("either {field} or columns.{}", own_columns(role)[0]);
                return Err(Error::invalid(table.name(), field, expected, "both"));
            }
        }
    }
    Ok(declared)
}

/// The error of columns that make no type.
fn unfit<'a>(config: &DatasetConfig, table: &Table, declared: impl Iterator<Item = &'a Role>) -> Error {
    let names = |roles: &[Role]| {
        roles
            .iter()
            .map(|r| own_columns(*r).join(" or "))
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let wanted = match config.kind {
        Some(kind) => names(roles(kind).0),
        None => KINDS.map(|kind| names(roles(kind).0)).join("; or "),
    };
    let named: Vec<Role> = declared.copied().collect();
    let named = if named.is_empty() {
        String::new()
    } else {
        format!(", with {} set in the configuration", names(&named))
    };
    let expected = format!("{wanted} (columns = {{ prompt = \"…\", completion = \"…\" }} says which columns they are)");
    Error::invalid(
        table.name(),
        "columns",
        expected,
        format!("{}{named}", table.columns.join(", ")),
    )
}
