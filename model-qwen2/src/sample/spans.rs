//! Where the assistant speaks in a rendered conversation, and which tokens that is.
use std::ops::Range;

use serde_json::Value;

use crate::chat::{ChatTemplate, GenerationPrompt, Inputs, Message, Rendered};
use crate::{Error, Result};

/// Renders a conversation and finds what the assistant says: what stands within `{% generation %}`, and for a template
/// without that block what a turn adds to the rendering of the turns before it with their generation prompt.
pub(super) fn assistant(template: &ChatTemplate, messages: &[Message], inputs: Inputs<'_>) -> Result<Rendered> {
    let mut rendered = template.render_spans(messages, inputs, GenerationPrompt::Omit)?;
    if template.marks_generation() {
        return Ok(rendered);
    }
    for (turn, message) in messages.iter().enumerate() {
        if message.get("role").and_then(Value::as_str) != Some("assistant") {
            continue;
        }
        let unclear = |found: &str| {
            Error::invalid(
                template.origin(),
                format!("messages[{turn}]"),
                "for assistant_only_loss, a chat template with {% generation %} markers or one that renders a conversation \
                 by appending to what came before",
                found,
            )
        };
        if turn == 0 {
            return Err(unclear("no marker, and a conversation that the assistant begins"));
        }
        let before = template.render(&messages[..turn], inputs, GenerationPrompt::Add)?;
        let through = template.render(&messages[..=turn], inputs, GenerationPrompt::Omit)?;
        if !through.starts_with(&before) {
            return Err(unclear(
                "no marker, and a turn that does not begin with the generation prompt",
            ));
        }
        if !rendered.text.starts_with(&through) {
            return Err(unclear(
                "no marker, and a turn that is rendered otherwise when others follow",
            ));
        }
        // A template may well have no generation prompt ("[INST] … [/INST] answer"), but then nothing but the content may
        // stand in the span.
        let content = message
            .get("content")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim_start();
        let unprompted = template.render(&messages[..turn], inputs, GenerationPrompt::Omit)?;
        if unprompted == before && !through[before.len()..].trim_start().starts_with(content) {
            return Err(unclear(
                "no marker, and no generation prompt that tells where the turn's content begins",
            ));
        }
        rendered.generated.push(before.len()..through.len());
    }
    Ok(rendered)
}

/// The tokens of a span of text, as transformers finds them with `char_to_token`: from the first that covers the span's
/// first character to the first that covers its last. `tokens` are the bytes that each token covers.
///
/// Not followed: where no token covers that character (white space that the tokenizer trims off), transformers gives up
/// on the rest of the conversation or trains all of it; here the nearest token within the span is taken. And of an empty
/// span it trains a token that lies around it; here none.
pub(super) fn tokens(text: &str, tokens: &[Range<usize>], span: &Range<usize>) -> Range<usize> {
    let Some((last, _)) = text[span.clone()].char_indices().next_back() else {
        return 0..0;
    };
    let last = span.start + last;
    let reaching = |byte: usize| tokens.iter().position(|token| token.end > byte);
    let start = reaching(span.start).unwrap_or(tokens.len());
    let end = match reaching(last) {
        Some(token) if tokens[token].start <= last => token + 1,
        Some(token) => token,
        None => tokens.len(),
    };
    start..end.max(start)
}
