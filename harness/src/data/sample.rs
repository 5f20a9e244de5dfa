//! Samples: what a row means to a trainer, before any tokenizer.
use super::expression::wrong_kind;
use super::row::{Fault, Row, scalar_text, type_name};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// One message of a dialogue: `role`, `content` and whatever other keys the data has.
pub type Message = Row;

/// A part of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Turns {
    /// Plain text: the chat template is not used.
    Text(String),
    /// Messages for the chat template.
    Messages(Vec<Message>),
}

/// What one row means.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Plain text to model.
    Text(String),
    /// A whole dialogue.
    Messages(Vec<Message>),
    /// A prompt and what to answer; both are of the same kind.
    PromptCompletion {
        /// What is given.
        prompt: Turns,
        /// What is learnt.
        completion: Turns,
    },
    /// A prompt to answer.
    PromptOnly {
        /// What is given.
        prompt: Turns,
    },
    /// Two answers to a prompt; all three are of the same kind.
    Preference {
        /// What is given.
        prompt: Turns,
        /// The better answer.
        chosen: Turns,
        /// The worse one.
        rejected: Turns,
    },
}

impl Turns {
    /// Whether there is nothing in it: no text but white space, no message (but the system's) with content or tool calls.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Messages(messages) => messages.iter().all(is_blank),
        }
    }

    /// A text, a list of messages, or null as an empty text. Numbers and booleans are taken as text.
    pub(super) fn parse(value: &Value) -> Result<Self, Fault> {
        match value {
            Value::Null => Ok(Self::Text(String::new())),
            Value::Array(list) => Ok(Self::Messages(messages(list)?)),
            other => scalar_text(other)
                .map(Self::Text)
                .ok_or_else(|| wrong_kind("a text or a list of messages", other)),
        }
    }

    /// Makes one message of a text.
    pub(super) fn into_messages(self, role: &str) -> Self {
        match self {
            Self::Text(text) => Self::Messages(vec![message(role, text)]),
            messages => messages,
        }
    }
}

impl Sample {
    /// What a model is asked: the prompt, or a dialogue without the assistant's message that ends it; one that ends
    /// otherwise is asked as a whole. `None` for plain text and for a dialogue that is nothing but an answer.
    pub fn prompt(&self) -> Option<Turns> {
        match self {
            Self::Text(_) => None,
            Self::Messages(messages) => {
                let asked = match messages.split_last() {
                    Some((last, before)) if last.get("role").and_then(Value::as_str) == Some("assistant") => before,
                    _ => messages,
                };
                (!asked.is_empty()).then(|| Turns::Messages(asked.to_vec()))
            }
            Self::PromptCompletion { prompt, .. } | Self::PromptOnly { prompt } | Self::Preference { prompt, .. } => {
                Some(prompt.clone())
            }
        }
    }

    /// The part that is empty and must not be, by its name.
    pub(super) fn empty_part(&self) -> Option<&'static str> {
        let check = |turns: &Turns, name| turns.is_empty().then_some(name);
        match self {
            Self::Text(text) => text.trim().is_empty().then_some("text"),
            Self::Messages(messages) => messages.iter().all(is_blank).then_some("messages"),
            Self::PromptCompletion { completion, .. } => check(completion, "completion"),
            Self::PromptOnly { prompt } => check(prompt, "prompt"),
            Self::Preference { chosen, rejected, .. } => check(chosen, "chosen").or(check(rejected, "rejected")),
        }
    }
}

/// A message.
pub(super) fn message(role: &str, content: String) -> Message {
    Row::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())])
}

/// Puts a system message in front, unless there is one.
pub(super) fn with_system(messages: &mut Vec<Message>, system: &str) {
    let first = messages.first().and_then(|m| m.get("role")).and_then(Value::as_str);
    if !matches!(first, Some("system" | "developer")) {
        messages.insert(0, message("system", system.to_owned()));
    }
}

/// Messages with role and content; from and value are renamed, human becomes user and gpt assistant, and all other keys are
/// kept.
pub(super) fn messages(list: &[Value]) -> Result<Vec<Message>, Fault> {
    list.iter()
        .enumerate()
        .map(|(i, value)| {
            parse_message(value)
                .map_err(|fault| Fault::new(fault.expected, format!("{} at message {}", fault.found, i + 1)))
        })
        .collect()
}

fn parse_message(value: &Value) -> Result<Message, Fault> {
    let Value::Object(object) = value else {
        return Err(wrong_kind(
            "a message, an object with role and content or from and value",
            value,
        ));
    };
    let some = |key: &str| object.get(key).filter(|v| !v.is_null());
    let role = match (some("role"), some("from")) {
        (Some(Value::String(role)), _) => role.as_str(),
        (None, Some(Value::String(from))) => match from.as_str() {
            "human" => "user",
            "gpt" => "assistant",
            other => other,
        },
        (Some(other), _) | (None, Some(other)) => {
            return Err(Fault::new("a role that is a string", type_name(other)));
        }
        (None, None) => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(Fault::new(
                "a message with role and content or from and value",
                format!("one with {}", keys.join(", ")),
            ));
        }
    };
    let content = some("content").or(some("value")).cloned().unwrap_or(Value::Null);
    if !matches!(content, Value::String(_) | Value::Array(_) | Value::Null) {
        return Err(Fault::new(
            "content that is a string or a list of parts",
            type_name(&content),
        ));
    }
    let mut message = Row::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content)]);
    for (key, value) in object
        .iter()
        .filter(|(key, _)| !["role", "from", "content", "value"].contains(&key.as_str()))
    {
        message.insert(key.clone(), value.clone());
    }
    Ok(message)
}

/// Nothing to learn or to ask: a system message, or no content and no tool calls.
fn is_blank(message: &Message) -> bool {
    let none = |key: &str| match message.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(parts)) => parts.is_empty(),
        Some(_) => false,
    };
    let system = message.get("role").and_then(Value::as_str) == Some("system");
    system || (none("content") && none("tool_calls"))
}

/// Splits the prompt off two answers that both begin with it, as TRL's `extract_prompt`: the longest common beginning, in turns
/// or in characters, and never all of the shorter one: (prompt, chosen, rejected). A space before the difference goes with the answers.
pub(super) fn extract_prompt(chosen: Turns, rejected: Turns) -> Result<(Turns, Turns, Turns), Fault> {
    match (chosen, rejected) {
        (Turns::Messages(mut chosen), Turns::Messages(rejected)) => {
            let at = common(chosen.iter(), rejected.iter(), chosen.len().min(rejected.len()));
            let rest = chosen.split_off(at);
            Ok((
                Turns::Messages(chosen),
                Turns::Messages(rest),
                Turns::Messages(rejected[at..].to_vec()),
            ))
        }
        (Turns::Text(chosen), Turns::Text(rejected)) => {
            let (a, b): (Vec<char>, Vec<char>) = (chosen.chars().collect(), rejected.chars().collect());
            let shorter = a.len().min(b.len());
            let mut at = common(a.iter(), b.iter(), shorter);
            if at > 0 && a[at - 1] == ' ' && a.get(at) != b.get(at) {
                at -= 1;
            }
            let text = |chars: &[char]| Turns::Text(chars.iter().collect());
            Ok((text(&a[..at]), text(&a[at..]), text(&b[at..])))
        }
        _ => Err(Fault::new(
            "chosen and rejected both texts or both lists of messages",
            "one of each",
        )),
    }
}

/// How many of the first elements are equal, less one when all of `shorter` are.
fn common<T: PartialEq>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>, shorter: usize) -> usize {
    let equal = a.zip(b).take_while(|(x, y)| x == y).count();
    if equal == shorter {
        equal.saturating_sub(1)
    } else {
        equal
    }
}
