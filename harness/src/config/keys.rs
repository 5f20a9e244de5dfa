//! The table of keys: one declaration gives the struct, its defaults, its reader, its writer and its help.
use std::ops::{Bound, RangeBounds};

use super::value::Value;

/// One line of `--help`.
#[derive(Debug, Clone)]
pub struct Key {
    /// The name, as TRL writes it.
    pub name: &'static str,
    /// The type and range, in words.
    pub expected: String,
    /// The default; `None` is unset.
    pub default: Option<toml::Value>,
    /// What it does.
    pub help: String,
}

/// What a key was given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// In the file, or as a dotted flag.
    Toml(toml::Value),
    /// The words after a flag.
    Words(Vec<String>),
}

/// A value that is not what its key takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// A struct declared with `keys!`.
pub trait Keys: Default {
    /// The table, in the order of declaration.
    fn keys() -> Vec<Key>;

    /// Sets the key `name`; `None` when there is no such key.
    fn set(&mut self, name: &str, given: &Given) -> Option<Result<(), Mismatch>>;

    /// Every key that is set, so that reading it back gives the same struct.
    fn to_toml(&self) -> toml::Table;
}

/// Reads one key and checks its range. For the code that `keys!` writes.
pub(super) fn read<T: Value>(given: &Given, range: Option<&dyn Range>) -> Result<T, Mismatch> {
    let value = match given {
        Given::Toml(value) => T::from_toml(value),
        Given::Words(words) => T::from_words(words),
    };
    value
        .filter(|value| {
            value
                .number()
                .zip(range)
                .is_none_or(|(number, range)| range.holds(number))
        })
        .ok_or_else(|| Mismatch {
            expected: expected::<T>(range),
            found: found(given),
        })
}

/// The type's words, then the range's.
pub(super) fn expected<T: Value>(range: Option<&dyn Range>) -> String {
    match range {
        Some(range) => format!("{} ({})", T::expected().replace(", 0 or more", ""), range.words()),
        None => T::expected(),
    }
}

fn found(given: &Given) -> String {
    match given {
        Given::Toml(toml::Value::Table(_)) => "a table".into(),
        Given::Toml(value) => value.to_string(),
        Given::Words(words) if words.is_empty() => "no value".into(),
        Given::Words(words) => words.join(" "),
    }
}

/// A range of numbers that a key must lie in.
pub(super) trait Range {
    fn holds(&self, number: f64) -> bool;
    fn words(&self) -> String;
}

impl<R: RangeBounds<f64>> Range for R {
    fn holds(&self, number: f64) -> bool {
        self.contains(&number)
    }
    fn words(&self) -> String {
        let start = match self.start_bound() {
            Bound::Included(&f64::MIN_POSITIVE) => Some("above 0".to_owned()),
            Bound::Included(start) => Some(format!("{start} or more")),
            _ => None,
        };
        let end = match self.end_bound() {
            Bound::Included(end) => Some(format!("at most {end}")),
            Bound::Excluded(end) => Some(format!("below {end}")),
            Bound::Unbounded => None,
        };
        start.into_iter().chain(end).collect::<Vec<_>>().join(", ")
    }
}

/// Declares a struct of keys: `/// help`, then `name: Type = default, in range;` with the range optional.
macro_rules! keys {
    ($(#[$meta:meta])* pub struct $Name:ident {
        $($(#[doc = $help:literal])+ $key:ident: $T:ty = $default:expr $(, in $range:expr)?;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Name { $($(#[doc = $help])+ pub $key: $T,)* }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::config::Keys for $Name {
            fn keys() -> Vec<$crate::config::Key> {
                let default = Self::default();
                vec![$($crate::config::Key {
                    name: stringify!($key),
                    expected: $crate::config::keys::expected::<$T>($crate::config::keys::range!($($range)?)),
                    default: $crate::config::Value::to_toml(&default.$key),
                    help: [$($help.trim()),+].join(" "),
                },)*]
            }

            fn set(
                &mut self,
                name: &str,
                given: &$crate::config::Given,
            ) -> Option<Result<(), $crate::config::Mismatch>> {
                Some(match name {
                    $(stringify!($key) => {
                        $crate::config::keys::read(given, $crate::config::keys::range!($($range)?))
                            .map(|value| self.$key = value)
                    })*
                    _ => return None,
                })
            }

            fn to_toml(&self) -> toml::Table {
                let default = Self::default();
                let mut table = toml::Table::new();
                $(
                    // Unset needs no line, unless the default is set.
                    let value = $crate::config::Value::to_toml(&self.$key).or_else(|| {
                        $crate::config::Value::to_toml(&default.$key).map(|_| toml::Value::String("none".into()))
                    });
                    if let Some(value) = value {
                        table.insert(stringify!($key).into(), value);
                    }
                )*
                table
            }
        }
    };
}

macro_rules! range {
    () => {
        None
    };
    ($range:expr) => {
        Some(&$range)
    };
}
pub(super) use {keys, range};
