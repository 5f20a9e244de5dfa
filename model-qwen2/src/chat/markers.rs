//! `{% generation %}` … `{% endgeneration %}`: the block with which a template marks what the assistant says.
//!
//! minijinja has no such block, but it can tell which output a filter block wrote. So the two tags become a filter block
//! with a filter that changes nothing, within a block that keeps assignments inside, as jinja2's extension does.

/// Whether a template has marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// It has `{% generation %}`.
    Generation,
    /// It has none.
    None,
}

/// The filter that changes nothing, as it stands in the rewritten source.
pub(super) const FILTER: &str = "__generated";
const OPEN: &str = "with %}{% filter __generated";
const CLOSE: &str = "endfilter %}{% endwith";

/// The source with its generation tags as filter blocks, and with `\n` for every line end, as jinja2 reads it.
/// Comments, strings and raw text stay as they are.
pub(super) fn rewrite(source: &str) -> (String, Marks) {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut marks = Marks::None;
    let mut raw = false;
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = match tag.as_bytes().get(1) {
            Some(b'#') if !raw => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') if !raw => code_end(tag, "}}"),
            Some(b'%') => code_end(tag, "%}"),
            _ => 1,
        };
        let (tag, after) = tag.split_at(end);
        match keyword(tag) {
            Some("raw") => raw = true,
            Some("endraw") => raw = false,
            Some("generation") if !raw => {
                marks = Marks::Generation;
                out.push_str(&tag.replace("generation", OPEN));
                rest = after;
                continue;
            }
            Some("endgeneration") if !raw => {
                out.push_str(&tag.replace("endgeneration", CLOSE));
                rest = after;
                continue;
            }
            _ => {}
        }
        out.push_str(tag);
        rest = after;
    }
    out.push_str(rest);
    (out, marks)
}

/// A line of the rewritten source as its author wrote it.
pub(super) fn restore(line: &str) -> String {
    line.replace(OPEN, "generation").replace(CLOSE, "endgeneration")
}

/// Where a tag that begins with two bytes ends: after `close`, which may also stand within a string.
fn code_end(tag: &str, close: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut quote = None;
    let mut i = 2;
    while i < bytes.len() {
        match quote {
            Some(_) if bytes[i] == b'\\' => i += 1,
            Some(q) if bytes[i] == q => quote = None,
            Some(_) => {}
            None if bytes[i..].starts_with(close.as_bytes()) => return i + close.len(),
            None if matches!(bytes[i], b'\'' | b'"') => quote = Some(bytes[i]),
            None => {}
        }
        i += 1;
    }
    tag.len()
}

/// The one word of a `{% word %}` tag.
fn keyword(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim())
}
