//! What Python gives a chat template and minijinja does not, or does otherwise: `raise_exception`, methods of strings,
//! and how values print.
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{strftime, tojson};

/// Adds all of it to an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, _, value| Ok(out.write_str(&text(value))?));
    environment.add_filter("tojson", tojson::tojson);
    environment.add_filter("string", |value: Value| text(&value));
    environment.add_filter("trim", |value: Value, chars: Option<String>| {
        strip(&text(&value), chars.as_deref(), Ends::Both)
    });
    environment.add_test("iterable", |value: Value| {
        is_container(&value) || value.kind() == ValueKind::Iterable
    });
    environment.add_test("sequence", |value: Value| is_container(&value));
    environment.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text(&message)))
    });
    environment.add_function("strftime_now", |format: &str| {
        strftime::strftime(format, strftime::now())
    });
}

/// Whether Python can index it and knows its length, which jinja2 calls a sequence: also an undefined value.
fn is_container(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined
    )
}

enum Ends {
    Left,
    Right,
    Both,
}

/// Python's `strip`, whose white space is a little wider than Rust's.
fn strip(s: &str, chars: Option<&str>, ends: Ends) -> String {
    let drop = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => c.is_whitespace() || ('\x1c'..='\x1f').contains(&c),
    };
    match ends {
        Ends::Left => s.trim_start_matches(drop),
        Ends::Right => s.trim_end_matches(drop),
        Ends::Both => s.trim_matches(drop),
    }
    .to_owned()
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let argument = args.first().filter(|v| !v.is_none()).and_then(Value::as_str);
    if let Some(s) = value.as_str() {
        match (name, argument) {
            ("strip", chars) => return Ok(strip(s, chars, Ends::Both).into()),
            ("lstrip", chars) => return Ok(strip(s, chars, Ends::Left).into()),
            ("rstrip", chars) => return Ok(strip(s, chars, Ends::Right).into()),
            ("removeprefix", Some(prefix)) => {
                return Ok(s.strip_prefix(prefix).unwrap_or(s).into());
            }
            ("removesuffix", Some(suffix)) => {
                return Ok(s.strip_suffix(suffix).unwrap_or(s).into());
            }
            ("partition", Some(at)) => {
                let (before, at, after) = s.split_once(at).map_or((s, "", ""), |(b, a)| (b, at, a));
                return Ok([before, at, after].into_iter().map(Value::from).collect());
            }
            ("rpartition", Some(at)) => {
                let (before, at, after) = s.rsplit_once(at).map_or(("", "", s), |(b, a)| (b, at, a));
                return Ok([before, at, after].into_iter().map(Value::from).collect());
            }
            _ => {}
        }
    }
    unknown_method_callback(state, value, name, args)
}

/// Python's `str(value)`; nothing for an undefined value, as jinja2 prints it.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    match value.as_str() {
        Some(s) => out.push_str(s),
        None => repr(&mut out, value),
    }
    out
}

/// Python's `repr(value)`.
fn repr(out: &mut String, value: &Value) {
    let mut list = |open: char, close: char| {
        out.push(open);
        for (i, item) in value.try_iter().into_iter().flatten().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            repr(out, &item);
            if value.kind() == ValueKind::Map {
                out.push_str(": ");
                repr(out, &value.get_item(&item).unwrap_or_default());
            }
        }
        out.push(close);
    };
    match value.kind() {
        ValueKind::String => repr_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(x) if x.is_nan() => out.push_str("nan"),
            Ok(x) if x.is_infinite() => out.push_str(if x > 0.0 { "inf" } else { "-inf" }),
            Ok(x) => out.push_str(&float(x)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::Seq => list('[', ']'),
        ValueKind::Map => list('{', '}'),
        _ => out.push_str(&value.to_string()),
    }
}

fn repr_string(out: &mut String, s: &str) {
    let quote = if s.contains('\'') && !s.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in s.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if printable(c) => out.push(c),
            c if c <= '\u{ff}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c <= '\u{ffff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
}

/// Python's `isprintable`. Rust escapes the same characters, and combining ones where nothing stands before them.
fn printable(c: char) -> bool {
    (' '..='~').contains(&c) || (!c.is_ascii() && !format!("a{c}").escape_debug().any(|c| c == '\\'))
}

/// Python's repr of a finite float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(x: f64) -> String {
    let shortest = format!("{x:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..16).contains(&e) => {
            format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
        }
        _ => {
            let plain = x.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
    }
}
