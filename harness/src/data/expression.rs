//! Functions of columns: `word_count(query)`, `extract(answer, '####\s*(-?\d+)')`, `round_to(word_count(query), 10)`.
use super::nearest::one_of;
use super::row::{Fault, Row, scalar_text, type_name};
use regex::Regex;
use serde_json::Value;
use std::str::Chars;

#[cfg(test)]
mod tests;

/// The functions, as an error lists them.
pub const FUNCTIONS: [&str; 10] = [
    "word_count",
    "char_count",
    "line_count",
    "upper",
    "lower",
    "trim",
    "extract",
    "replace",
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
    /// The first group of the first match (the whole match where there is no group), or what stands in for one.
    Extract {
        text: Box<Self>,
        pattern: Regex,
        otherwise: Otherwise,
    },
    /// Every occurrence of the first text replaced with the second.
    Replace(Box<Self>, String, String),
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

/// What `extract` gives where nothing matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// An error.
    Error,
    /// Null, and so do the functions around it.
    Null,
    /// This text.
    Text(String),
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
            Self::Unary(_, inner)
            | Self::RoundTo(inner, _)
            | Self::Replace(inner, ..)
            | Self::Extract { text: inner, .. } => inner.columns(),
        }
    }

    /// Its value in `row`: a string, an integer from the functions that count, or null from `extract`.
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
                let Some(text) = inner.argument(row)? else {
                    return Ok(Value::Null);
                };
                Ok(match function {
                    Unary::WordCount => text.split_whitespace().count().into(),
                    Unary::CharCount => text.chars().count().into(),
                    Unary::LineCount => text.lines().count().into(),
                    Unary::Upper => text.to_uppercase().into(),
                    Unary::Lower => text.to_lowercase().into(),
                    Unary::Trim => text.trim().into(),
                })
            }
            Self::Extract {
                text,
                pattern,
                otherwise,
            } => {
                let Some(text) = text.argument(row)? else {
                    return Ok(Value::Null);
                };
                let found = pattern.captures(&text).and_then(|c| c.get(1).or(c.get(0)));
                match (found, otherwise) {
                    (Some(found), _) => Ok(found.as_str().into()),
                    (None, Otherwise::Text(text)) => Ok(text.as_str().into()),
                    (None, Otherwise::Null) => Ok(Value::Null),
                    (None, Otherwise::Error) => Err(Fault::new(
                        format!(
                            "a match of {pattern} (a third argument to extract, null or a text, stands in for one)"
                        ),
                        format!("none in {:?}", shortened(&text)),
                    )),
                }
            }
            Self::Replace(inner, from, to) => Ok(match inner.argument(row)? {
                Some(text) => text.replace(from.as_str(), to).into(),
                None => Value::Null,
            }),
            Self::RoundTo(inner, multiple) => {
                let Some(text) = inner.argument(row)? else {
                    return Ok(Value::Null);
                };
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

    /// [`Self::eval`] as text, for a template: lists and objects as compact JSON; null is an error.
    pub fn text(&self, row: &Row) -> Result<String, Fault> {
        self.argument(row)?.ok_or_else(|| {
            Fault::new(
                "a text (extract(column, 'pattern', 'text') gives one without a match)",
                "null",
            )
        })
    }

    /// The same for the function around it; `None` is null.
    fn argument(&self, row: &Row) -> Result<Option<String>, Fault> {
        Ok(match self.eval(row)? {
            Value::Null => None,
            value => Some(scalar_text(&value).unwrap_or_else(|| value.to_string())),
        })
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
                let (text, pattern, otherwise) = match three {
                    (Some(E(text)), Some(Text(pattern)), None, _) => (text, pattern, Otherwise::Error),
                    (Some(E(text)), Some(Text(pattern)), Some(Text(other)), None) => {
                        (text, pattern, Otherwise::Text(other))
                    }
                    (Some(E(text)), Some(Text(pattern)), Some(E(Expression::Column(null))), None) if null == "null" => {
                        (text, pattern, Otherwise::Null)
                    }
                    _ => {
                        return Err(usage(
                            "extract(column, 'regular expression'), and as a third argument 'default' or null",
                        ));
                    }
                };
                let pattern = Regex::new(&pattern)
                    .map_err(|e| Fault::new("a regular expression", format!("{pattern:?}: {e}")))?;
                Ok(Expression::Extract {
                    text: Box::new(text),
                    pattern,
                    otherwise,
                })
            }
            ("replace", _) => match three {
                (Some(E(inner)), Some(Text(from)), Some(Text(to)), None) if !from.is_empty() => {
                    Ok(Expression::Replace(Box::new(inner), from, to))
                }
                _ => Err(usage("replace(column, 'text', 'other text')")),
            },
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
