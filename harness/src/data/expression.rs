//! Functions of columns: `word_count(query)`, `extract(answer, '####\s*(-?\d+)')`, `round_to(word_count(query), 10)`.
use super::nearest::one_of;
use super::row::{Fault, Row, scalar_text, type_name};
use regex::Regex;
use serde_json::Value;
use std::str::Chars;

#[cfg(test)]
mod tests;

/// The functions, as an error lists them.
pub const FUNCTIONS: [&str; 9] = [
    "word_count",
    "char_count",
    "line_count",
    "upper",
    "lower",
    "trim",
    "extract",
    "round_to",
    "default",
];

/// A parsed expression.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// The value of a column.
    Column(String),
    /// A function of one text.
    Unary(Unary, Box<Self>),
    /// The first group of the first match (the whole match where there is no group), or `default` without one.
    Extract {
        text: Box<Self>,
        pattern: Regex,
        default: Option<String>,
    },
    /// The nearest multiple, halves up.
    RoundTo(Box<Self>, i64),
    /// The text where the column is null or not there.
    Default(String, String),
}

/// Functions of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    /// Words between white space.
    WordCount,
    /// Unicode characters.
    CharCount,
    /// Lines; a newline at the end starts none.
    LineCount,
    Upper,
    Lower,
    /// Without white space at both ends.
    Trim,
}

/// What stands between the brackets.
enum Argument {
    Expression(Expression),
    Text(String),
    Number(i64),
}

impl Expression {
    /// Parses all of `source`; the error quotes it.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let mut parser = Parser {
            source,
            rest: source.chars(),
        };
        let expression = match parser.argument()? {
            Argument::Expression(e) => e,
            Argument::Text(_) | Argument::Number(_) => {
                return Err(parser.fault("a column or a function of columns"));
            }
        };
        parser.space();
        match parser.rest.as_str() {
            "" => Ok(expression),
            _ => Err(parser.fault("the end of the expression")),
        }
    }

    /// The columns it cannot do without.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::Column(name) | Self::Default(name, _) => vec![name],
            Self::Unary(_, inner) | Self::RoundTo(inner, _) | Self::Extract { text: inner, .. } => inner.columns(),
        }
    }

    /// Its value in `row`: a string, or an integer from the functions that count.
    pub fn eval(&self, row: &Row) -> Result<Value, Fault> {
        match self {
            Self::Column(name) => match row.get(name) {
                Some(Value::Null) => Err(Fault::new(
                    format!("a value in column {name:?} (default({name}, 'text') stands in for one)"),
                    "null",
                )),
                Some(value) => Ok(value.clone()),
                None => Err(missing(name, row)),
            },
            Self::Unary(function, inner) => {
                let text = inner.text(row)?;
                Ok(match function {
                    Unary::WordCount => text.split_whitespace().count().into(),
                    Unary::CharCount => text.chars().count().into(),
                    Unary::LineCount => text.lines().count().into(),
                    Unary::Upper => text.to_uppercase().into(),
                    Unary::Lower => text.to_lowercase().into(),
                    Unary::Trim => text.trim().into(),
                })
            }
            Self::Extract { text, pattern, default } => {
                let text = text.text(row)?;
                let found = pattern.captures(&text).and_then(|c| c.get(1).or(c.get(0)));
                match (found, default) {
                    (Some(found), _) => Ok(found.as_str().into()),
                    (None, Some(default)) => Ok(default.as_str().into()),
                    (None, None) => Err(Fault::new(
                        format!("a match of {pattern} (a third argument to extract stands in for one)"),
                        format!("none in {:?}", shortened(&text)),
                    )),
                }
            }
            Self::RoundTo(inner, multiple) => {
                let text = inner.text(row)?;
                let number: f64 = text
                    .trim()
                    .parse()
                    .map_err(|_| Fault::new("a number to round", format!("{:?}", shortened(&text))))?;
                Ok((((number / *multiple as f64 + 0.5).floor() as i64).saturating_mul(*multiple)).into())
            }
            Self::Default(column, text) => match row.get(column) {
                Some(Value::Null) | None => Ok(text.as_str().into()),
                Some(value) => Ok(value.clone()),
            },
        }
    }

    /// [`Self::eval`] as text: lists and objects as compact JSON.
    pub fn text(&self, row: &Row) -> Result<String, Fault> {
        let value = self.eval(row)?;
        Ok(scalar_text(&value).unwrap_or_else(|| value.to_string()))
    }
}

/// A column that this row, or the table, has not.
pub(super) fn missing(name: &str, row: &Row) -> Fault {
    let known: Vec<&String> = row.keys().collect();
    Fault::new(
        format!("a column that is {}", one_of(name, &known)),
        format!("{name:?}"),
    )
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

struct Parser<'a> {
    source: &'a str,
    rest: Chars<'a>,
}

impl Parser<'_> {
    fn fault(&self, expected: &str) -> Fault {
        let found = match self.rest.as_str() {
            "" => "the end".to_owned(),
            rest => format!("{rest:?}"),
        };
        Fault::new(expected, format!("{found} in {:?}", self.source))
    }

    fn space(&mut self) {
        self.rest = self.rest.as_str().trim_start().chars();
    }

    /// Takes `c` if it comes next.
    fn take(&mut self, c: char) -> bool {
        self.space();
        let taken = self.rest.as_str().strip_prefix(c);
        if let Some(rest) = taken {
            self.rest = rest.chars();
        }
        taken.is_some()
    }

    fn argument(&mut self) -> Result<Argument, Fault> {
        self.space();
        for quote in ['\'', '"'] {
            if self.take(quote) {
                let (text, rest) = self
                    .rest
                    .as_str()
                    .split_once(quote)
                    .ok_or_else(|| self.fault(&format!("a closing {quote}")))?;
                self.rest = rest.chars();
                return Ok(Argument::Text(text.to_owned()));
            }
        }
        let rest = self.rest.as_str();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c))
            .unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        if word.is_empty() {
            return Err(self.fault("a column, a function, a quoted text or a number"));
        }
        if let Ok(number) = word.parse() {
            self.rest = rest.chars();
            return Ok(Argument::Number(number));
        }
        self.rest = rest.chars();
        if !self.take('(') {
            return Ok(Argument::Expression(Expression::Column(word.to_owned())));
        }
        let mut arguments = Vec::new();
        while !self.take(')') {
            if !arguments.is_empty() && !self.take(',') {
                return Err(self.fault("a comma or a closing bracket"));
            }
            arguments.push(self.argument()?);
        }
        Ok(Argument::Expression(self.call(word, arguments)?))
    }

    fn call(&self, name: &str, arguments: Vec<Argument>) -> Result<Expression, Fault> {
        use Argument::{Expression as E, Number, Text};
        let unary = match name {
            "word_count" => Some(Unary::WordCount),
            "char_count" => Some(Unary::CharCount),
            "line_count" => Some(Unary::LineCount),
            "upper" => Some(Unary::Upper),
            "lower" => Some(Unary::Lower),
            "trim" => Some(Unary::Trim),
            _ => None,
        };
        let count = arguments.len();
        let usage = |usage: &str| Fault::new(usage, format!("{count} arguments or other kinds in {:?}", self.source));
        let mut arguments = arguments.into_iter();
        let three = (arguments.next(), arguments.next(), arguments.next(), arguments.next());
        match (name, unary) {
            (_, Some(unary)) => match three {
                (Some(E(inner)), None, ..) => Ok(Expression::Unary(unary, Box::new(inner))),
                _ => Err(usage(&format!("{name}(column)"))),
            },
            ("extract", _) => {
                let (text, pattern, default) = match three {
                    (Some(E(text)), Some(Text(pattern)), None, _) => (text, pattern, None),
                    (Some(E(text)), Some(Text(pattern)), Some(Text(default)), None) => (text, pattern, Some(default)),
                    _ => {
                        return Err(usage(
                            "extract(column, 'regular expression') or extract(column, 'regular expression', 'default')",
                        ));
                    }
                };
                let pattern = Regex::new(&pattern)
                    .map_err(|e| Fault::new("a regular expression", format!("{pattern:?}: {e}")))?;
                Ok(Expression::Extract {
                    text: Box::new(text),
                    pattern,
                    default,
                })
            }
            ("round_to", _) => match three {
                (Some(E(inner)), Some(Number(multiple)), None, _) if multiple > 0 => {
                    Ok(Expression::RoundTo(Box::new(inner), multiple))
                }
                _ => Err(usage("round_to(column, 10), the second a positive whole number")),
            },
            ("default", _) => match three {
                (Some(E(Expression::Column(column))), Some(Text(text)), None, _) => {
                    Ok(Expression::Default(column, text))
                }
                _ => Err(usage("default(column, 'text')")),
            },
            _ => Err(Fault::new(
                format!("a function that is {}", one_of(name, &FUNCTIONS)),
                format!("{name:?} in {:?}", self.source),
            )),
        }
    }
}

/// Checks that the table has every column that `expression` reads.
pub(super) fn check(expression: &Expression, columns: &[String]) -> Result<(), Fault> {
    for name in expression.columns() {
        if !columns.iter().any(|c| c == name) {
            return Err(Fault::new(
                format!("a column that is {}", one_of(name, columns)),
                format!("{name:?}"),
            ));
        }
    }
    Ok(())
}

/// The error of a value that is none of the kinds wanted.
pub(super) fn wrong_kind(expected: &str, value: &Value) -> Fault {
    Fault::new(expected, type_name(value))
}
