//! What Python gives a chat template and minijinja does not, or does otherwise: `tojson`, `raise_exception`,
//! `strftime_now`, methods of strings, and how values print.
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Adds all of it to an environment.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, _, value| Ok(out.write_str(&text(value))?));
    environment.add_filter("tojson", tojson);
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
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs() as i64);
        strftime(format, now)
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
fn text(value: &Value) -> String {
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
fn float(x: f64) -> String {
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

/// `tojson` as transformers defines it: `json.dumps(x, ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False)`, nothing escaped for HTML.
fn tojson(value: Value, positional: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        let given = match positional.get(at) {
            Some(value) => Some(value.clone()),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let ascii = argument(0, "ensure_ascii")?.is_some_and(|v| v.is_true());
    let indent = argument(1, "indent")?.map(|v| match i64::try_from(v.clone()) {
        Ok(n) => " ".repeat(n.max(0) as usize),
        Err(_) => text(&v),
    });
    let mut separators = [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()];
    if let Some(given) = argument(2, "separators")? {
        for (i, separator) in separators.iter_mut().enumerate() {
            *separator = text(&given.get_item_by_index(i)?);
        }
    }
    let sort = argument(3, "sort_keys")?.is_some_and(|v| v.is_true());
    kwargs.assert_all_used()?;
    let mut json = Json {
        out: String::new(),
        ascii,
        indent,
        separators,
        sort,
    };
    json.value(&value, 0)?;
    Ok(json.out.into())
}

struct Json {
    out: String,
    ascii: bool,
    indent: Option<String>,
    separators: [String; 2],
    sort: bool,
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => {
                let x = f64::try_from(value.clone())?;
                match (x.is_nan(), x.is_infinite()) {
                    (true, _) => self.out.push_str("NaN"),
                    (_, true) => self.out.push_str(if x > 0.0 { "Infinity" } else { "-Infinity" }),
                    _ => self.out.push_str(&float(x)),
                }
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.container(['[', ']'], &items, depth, |json, item| json.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.container(['{', '}'], &keys, depth, |json, key| {
                    json.key(key)?;
                    json.out.push_str(&json.separators[1].clone());
                    json.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson: a value of type {kind} has no JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push_str(&self.separators[0].clone());
            }
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    /// JSON has string keys only: Python writes others as the string of their JSON.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.as_str() {
            Some(s) => self.string(s),
            None => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
        }
        Ok(())
    }

    fn string(&mut self, s: &str) {
        self.out.push('"');
        for c in s.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                c if self.ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Python's `strftime` for a time in UTC, in English; an error for a directive that is not one of `%a A b B d e H I j m M p S y
/// Y F T Z z %` and their `%-d` forms.
pub(super) fn strftime(format: &str, unix_seconds: i64) -> Result<String, Error> {
    let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = (days + 4).rem_euclid(7) as usize;
    let day_of_year = days - days_from_civil(year, 1, 1) + 1;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        let (number, width) = match directive {
            Some('d') => (day, 2),
            Some('H') => (hour, 2),
            Some('I') => ((hour + 11) % 12 + 1, 2),
            Some('j') => (day_of_year, 3),
            Some('m') => (month, 2),
            Some('M') => (minute, 2),
            Some('S') => (second, 2),
            Some('y') => (year.rem_euclid(100), 2),
            Some('Y') => (year, 1),
            other => {
                match other {
                    Some('a') => out.push_str(&DAYS[weekday][..3]),
                    Some('A') => out.push_str(DAYS[weekday]),
                    Some('b') => out.push_str(&month_name[..3]),
                    Some('B') => out.push_str(month_name),
                    Some('e') => out.push_str(&format!("{day:2}")),
                    Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                    Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
                    Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
                    Some('Z' | 'z') => {}
                    Some('%') => out.push('%'),
                    _ => {
                        let message = format!("strftime_now: {format:?} has a directive that is not supported");
                        return Err(Error::new(ErrorKind::InvalidOperation, message));
                    }
                }
                continue;
            }
        };
        out.push_str(&format!("{number:0w$}", w = if unpadded { 1 } else { width }));
    }
    Ok(out)
}

/// Days since 1970-01-01 of a date; the year begins in March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date (year, month, day) of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|&m| days_from_civil(year, m, 1) <= days)
        .unwrap_or(1);
    (year, month, days - days_from_civil(year, month, 1) + 1)
}
