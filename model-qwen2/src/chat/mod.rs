//! Chat templates: Jinja, rendered byte for byte as `transformers` 5 renders it.
//!
//! [`ChatTemplate`] is the only door. What transformers does before and around jinja2 is done here too: keys of a message
//! that are null are dropped, `reasoning_content` is filled from its other names, blocks are trimmed, `tojson` is Python's.
mod markers;
mod python;
mod strftime;
#[cfg(test)]
mod tests;
mod tojson;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Plain ChatML, for a tokenizer without a template of its own; it was transformers' default template.
pub const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + \
                          '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' \
                          }}{% endif %}";

/// One message: `role`, `content` and whatever else its template reads.
pub type Message = Map<String, Value>;

/// Whether the rendered text ends with what opens the assistant's next turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// It does: for generation, and for the prompt of a prompt-completion pair.
    Add,
    /// It ends with the last message.
    #[default]
    Omit,
}

/// What a template sees beside the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// JSON schemas of the tools; the template sees `none` where there are none.
    pub tools: Option<&'a [Value]>,
    /// Documents for retrieval.
    pub documents: Option<&'a [Value]>,
    /// Template variables, such as `enable_thinking`. They win over the special tokens.
    pub variables: Option<&'a Map<String, Value>>,
}

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes of `text` that stood within `{% generation %}`.
    pub generated: Vec<Range<usize>>,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    origin: PathBuf,
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, Jinja>,
    marks: markers::Marks,
}

impl ChatTemplate {
    /// Compiles a template. `origin` is the file it stands in, for errors; `special_tokens` are pairs such as
    /// (`eos_token`, `<|im_end|>`), which become variables.
    ///
    /// Fails on a syntax error, naming file, line and text of the line.
    pub fn new<'a>(
        origin: impl AsRef<Path>,
        source: &str,
        special_tokens: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let (source, marks) = markers::rewrite(source);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.unwrap_or_default());
        environment.set_debug(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        python::install(&mut environment);
        environment.add_filter(markers::FILTER, |body: Jinja| body);
        let special_tokens = special_tokens
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Jinja::from(text)))
            .collect();
        let mut this = Self {
            origin: origin.as_ref().to_owned(),
            environment,
            special_tokens,
            marks,
        };
        let compiled = this.environment.add_template_owned(TEMPLATE, source.clone());
        compiled.map_err(|e| this.error(&e, &source, "valid Jinja"))?;
        Ok(this)
    }

    /// Makes `strftime_now` answer with a fixed time, in seconds since 1970 (UTC), for output that can be repeated.
    #[must_use]
    pub fn at(mut self, unix_seconds: u32) -> Self {
        self.environment.add_function("strftime_now", move |format: &str| {
            strftime::strftime(format, unix_seconds.into())
        });
        self
    }

    /// The file the template came from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Whether the template marks with `{% generation %}` what the assistant says.
    pub fn marks_generation(&self) -> bool {
        self.marks == markers::Marks::Generation
    }

    /// Renders a conversation.
    ///
    /// Fails on an empty conversation and on what the template refuses, naming file, line and the template's message.
    pub fn render(&self, messages: &[Message], inputs: Inputs<'_>, prompt: GenerationPrompt) -> Result<String> {
        Ok(self.render_spans(messages, inputs, prompt)?.text)
    }

    /// Renders a conversation and says which bytes the template marks as generated.
    pub fn render_spans(&self, messages: &[Message], inputs: Inputs<'_>, prompt: GenerationPrompt) -> Result<Rendered> {
        if messages.is_empty() {
            return Err(Error::invalid(
                &self.origin,
                "messages",
                "at least one message",
                "an empty conversation",
            ));
        }
        let mut context = self.special_tokens.clone();
        for (name, value) in inputs.variables.into_iter().flatten() {
            context.insert(name.clone(), from_json(value));
        }
        let messages: Vec<Message> = messages.iter().map(as_templates_read).collect();
        context.insert("messages".to_owned(), from_json(&messages));
        context.insert("tools".to_owned(), from_json(inputs.tools));
        context.insert("documents".to_owned(), from_json(inputs.documents));
        context.insert(
            "add_generation_prompt".to_owned(),
            (prompt == GenerationPrompt::Add).into(),
        );
        let template = self
            .environment
            .get_template(TEMPLATE)
            .map_err(|e| self.error(&e, "", "a template"))?;
        let source = template.source();
        let (text, spans) = template
            .render_with_spans(Jinja::from(context))
            .map_err(|e| self.error(&e, source, "a conversation that this template can render"))?;
        let marked = |span: &&minijinja::OutputSpan| &source[span.source_range()] == markers::FILTER;
        let generated = spans.iter().filter(marked).map(|span| span.output_range()).collect();
        Ok(Rendered { text, generated })
    }

    /// The crate's error with the template's file, the line and its text, and what was wrong there.
    fn error(&self, error: &minijinja::Error, source: &str, expected: &str) -> Error {
        let mut innermost = error;
        while let Some(inner) = std::error::Error::source(innermost).and_then(|e| e.downcast_ref()) {
            innermost = inner;
        }
        let field = match innermost.line().or(error.line()) {
            Some(line) => {
                let text = markers::restore(source.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim());
                let cut = text.char_indices().nth(100).map_or(text.len(), |(at, _)| at);
                format!(
                    "chat template line {line} `{}{}`",
                    &text[..cut],
                    if cut < text.len() { " …" } else { "" }
                )
            }
            None => "chat template".to_owned(),
        };
        let kind = innermost.kind();
        let found = match innermost.detail() {
            Some(detail) if matches!(kind, ErrorKind::InvalidOperation | ErrorKind::SyntaxError) => detail.to_owned(),
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        };
        Error::invalid(&self.origin, field, expected, found)
    }
}

fn from_json(value: impl serde::Serialize) -> Jinja {
    Jinja::from(Serde(value))
}

/// The name of the one template of an environment.
const TEMPLATE: &str = "chat template";

/// The names that a message's reasoning comes under; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as transformers shows it to a template: nulls dropped, the reasoning under the name that templates read, and
/// under `thinking` for gpt-oss.
fn as_templates_read(message: &Message) -> Message {
    let present = || message.iter().filter(|(_, value)| !value.is_null());
    let Some(reasoning) = REASONING
        .iter()
        .find_map(|name| message.get(*name).filter(|value| !value.is_null()))
    else {
        return present().map(|(key, value)| (key.clone(), value.clone())).collect();
    };
    let mut aliased = Message::new();
    aliased.insert("thinking".to_owned(), reasoning.clone());
    aliased.extend(present().map(|(key, value)| (key.clone(), value.clone())));
    aliased.insert("reasoning_content".to_owned(), reasoning.clone());
    aliased
}
