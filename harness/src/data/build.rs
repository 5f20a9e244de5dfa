//! One row into one sample, by the layout.
use super::config::{DatasetConfig, DatasetType, Role};
use super::expression::wrong_kind;
use super::layout::Layout;
use super::row::{Fault, Row};
use super::sample::{Sample, Turns, extract_prompt, messages, with_system};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// A fault with the field it is in.
pub(super) type Located = (String, Fault);

/// The sample of one row.
pub(super) fn sample(config: &DatasetConfig, layout: &Layout, row: &Row) -> Result<Sample, Located> {
    Builder { config, layout, row }.sample()
}

struct Builder<'a> {
    config: &'a DatasetConfig,
    layout: &'a Layout,
    row: &'a Row,
}

impl Builder<'_> {
    fn sample(&self) -> Result<Sample, Located> {
        match self.layout.kind {
            DatasetType::LanguageModeling => match self.turns(Role::Text)? {
                Turns::Text(text) => Ok(Sample::Text(text)),
                Turns::Messages(_) => Err(self.at(
                    Role::Text,
                    Fault::new("a text (type = \"messages\" reads messages)", "a list"),
                )),
            },
            DatasetType::Messages => self.dialogue(),
            DatasetType::PromptOnly => Ok(Sample::PromptOnly { prompt: self.prompt()? }),
            DatasetType::PromptCompletion => {
                let prompt = self.prompt()?;
                let completion = self.answer(Role::Completion, &prompt)?;
                Ok(Sample::PromptCompletion { prompt, completion })
            }
            DatasetType::Preference if self.layout.roles.contains_key(&Role::Prompt) => {
                let prompt = self.prompt()?;
                let chosen = self.answer(Role::Chosen, &prompt)?;
                let rejected = self.answer(Role::Rejected, &prompt)?;
                Ok(Sample::Preference {
                    prompt,
                    chosen,
                    rejected,
                })
            }
            DatasetType::Preference => {
                let (prompt, chosen, rejected) = extract_prompt(self.turns(Role::Chosen)?, self.turns(Role::Rejected)?)
                    .map_err(|fault| self.at(Role::Rejected, fault))?;
                let prompt = self.asked(prompt).map_err(|fault| self.at(Role::Chosen, fault))?;
                Ok(Sample::Preference {
                    prompt,
                    chosen: self.answered(chosen),
                    rejected: self.answered(rejected),
                })
            }
        }
    }

    fn dialogue(&self) -> Result<Sample, Located> {
        let mut dialogue = match self.value(Role::Messages)? {
            Value::Array(list) => messages(&list).map_err(|fault| self.at(Role::Messages, fault))?,
            Value::Null => Vec::new(),
            other => return Err(self.at(Role::Messages, wrong_kind("a list of messages", &other))),
        };
        if let Some(text) = &self.config.system_prompt {
            with_system(&mut dialogue, text);
        }
        Ok(Sample::Messages(dialogue))
    }

    /// The prompt, in the form that the configuration asks for.
    fn prompt(&self) -> Result<Turns, Located> {
        self.asked(self.turns(Role::Prompt)?)
            .map_err(|fault| self.at(Role::Prompt, fault))
    }

    /// A completion; it must be of the prompt's kind unless it is empty, which is counted later.
    fn answer(&self, role: Role, prompt: &Turns) -> Result<Turns, Located> {
        let answer = self.answered(self.turns(role)?);
        if std::mem::discriminant(&answer) == std::mem::discriminant(prompt) || answer.is_empty() {
            return Ok(answer);
        }
        let kind = |turns: &Turns| match turns {
            Turns::Text(_) => "a text",
            Turns::Messages(_) => "a list of messages",
        };
        let expected = format!(
            "{}, as the prompt is (conversational = true makes messages of texts)",
            kind(prompt)
        );
        Err(self.at(role, Fault::new(expected, kind(&answer))))
    }

    /// A prompt as messages where wanted, with the system message.
    fn asked(&self, turns: Turns) -> Result<Turns, Fault> {
        let turns = if self.config.conversational {
            turns.into_messages("user")
        } else {
            turns
        };
        match (&self.config.system_prompt, turns) {
            (None, turns) => Ok(turns),
            (Some(text), Turns::Messages(mut messages)) => {
                with_system(&mut messages, text);
                Ok(Turns::Messages(messages))
            }
            (Some(_), Turns::Text(_)) => Err(Fault::new(
                "messages, for system_prompt (conversational = true makes them)",
                "a text",
            )),
        }
    }

    /// A completion as messages where wanted.
    fn answered(&self, turns: Turns) -> Turns {
        if self.config.conversational {
            turns.into_messages("assistant")
        } else {
            turns
        }
    }

    fn turns(&self, role: Role) -> Result<Turns, Located> {
        Turns::parse(&self.value(role)?).map_err(|fault| self.at(role, fault))
    }

    fn value(&self, role: Role) -> Result<Value, Located> {
        let value = self
            .layout
            .value(role, self.row)
            .map_err(|fault| self.at(role, fault))?;
        Ok(value.unwrap_or(Value::Null))
    }

    fn at(&self, role: Role, fault: Fault) -> Located {
        (format!("column {:?}", self.layout.column(role)), fault)
    }
}

/// The chat template's variables that the row itself has.
pub(super) fn variables(layout: &Layout, row: &Row) -> Result<Row, Located> {
    let mut variables = match row.get(KWARGS) {
        None | Some(Value::Null) => Row::new(),
        Some(Value::Object(own)) => own.clone(),
        Some(other) => {
            return Err((format!("column {KWARGS:?}"), wrong_kind("an object", other)));
        }
    };
    let at = |fault| (format!("column {:?}", layout.column(Role::Tools)), fault);
    let tools = match layout.value(Role::Tools, row).map_err(at)? {
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|e| at(Fault::new("tools, a list or JSON in a string", e.to_string())))?,
        other => other.unwrap_or(Value::Null),
    };
    if !tools.is_null() {
        variables.insert("tools".to_owned(), tools);
    }
    Ok(variables)
}

/// The column of a row's own variables, as in TRL.
const KWARGS: &str = "chat_template_kwargs";

pub(super) fn pass_through(config: &DatasetConfig, layout: &Layout, row: &Row) -> Row {
    let kept = |name: &String| match &config.pass_through {
        Some(names) => names.contains(name),
        None => !layout.uses(name) && name != KWARGS,
    };
    row.iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
