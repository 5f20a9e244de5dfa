//! The types a key can have: how each is read from TOML and from a flag's words, and how it is written back.
use std::path::PathBuf;

/// The type of a configuration key.
pub trait Value: Sized + Clone + PartialEq {
    /// What is right, for errors and `--help`: "a number".
    fn expected() -> String;

    /// Reads a TOML value; `None` when it is of another type.
    fn from_toml(value: &toml::Value) -> Option<Self>;

    /// The value as TOML; `None` when it is unset, which TOML cannot say.
    fn to_toml(&self) -> Option<toml::Value>;

    /// Reads the words that follow a flag.
    fn from_words(words: &[String]) -> Option<Self> {
        match words {
            [word] => Self::from_toml(&toml::Value::String(word.clone())).or_else(|| Self::from_toml(&guess(word))),
            _ => None,
        }
    }

    /// The number that a range is checked against.
    fn number(&self) -> Option<f64> {
        None
    }
}

/// The TOML value that a flag's word looks like.
pub(super) fn guess(word: &str) -> toml::Value {
    match word {
        "true" | "True" => return toml::Value::Boolean(true),
        "false" | "False" => return toml::Value::Boolean(false),
        _ => {}
    }
    if let Ok(whole) = word.parse() {
        return toml::Value::Integer(whole);
    }
    if let Ok(number) = word.parse() {
        return toml::Value::Float(number);
    }
    let compound = word.starts_with(['[', '{', '"']);
    let parsed = compound
        .then(|| format!("v = {word}").parse::<toml::Table>().ok()?.remove("v"))
        .flatten();
    parsed.unwrap_or_else(|| toml::Value::String(word.to_owned()))
}

impl Value for f64 {
    fn expected() -> String {
        "a number".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let number = value
            .as_float()
            .or_else(|| value.as_integer().map(|whole| whole as f64))?;
        number.is_finite().then_some(number)
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::Float(*self))
    }
    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

macro_rules! whole {
    ($($T:ty: $text:literal),*) => {$(
        impl Value for $T {
            fn expected() -> String {
                $text.into()
            }
            fn from_toml(value: &toml::Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }
            fn to_toml(&self) -> Option<toml::Value> {
                (*self).try_into().ok().map(toml::Value::Integer)
            }
            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    )*};
}
whole!(i64: "a whole number", u64: "a whole number, 0 or more", usize: "a whole number, 0 or more");

impl Value for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_bool()
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::Boolean(*self))
    }
    fn from_words(words: &[String]) -> Option<Self> {
        match words {
            [] => Some(true),
            [word] => guess(word).as_bool(),
            _ => None,
        }
    }
}

impl Value for String {
    fn expected() -> String {
        "a string".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.clone()))
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "a path".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().filter(|path| !path.is_empty()).map(Self::from)
    }
    fn to_toml(&self) -> Option<toml::Value> {
        (!self.as_os_str().is_empty()).then(|| toml::Value::String(self.to_string_lossy().into_owned()))
    }
}

/// A table or value that another module reads.
impl Value for toml::Value {
    fn expected() -> String {
        "a table".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        Some(value.clone())
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.clone())
    }
    fn from_words(words: &[String]) -> Option<Self> {
        match words {
            [] => None,
            [word] => Some(guess(word)),
            many => Some(toml::Value::Array(many.iter().map(|word| guess(word)).collect())),
        }
    }
}

/// Unset is written "none", since TOML has no null.
impl<T: Value> Value for Option<T> {
    fn expected() -> String {
        format!("{}, or \"none\"", T::expected())
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value.as_str() {
            Some("none" | "None" | "null") => Some(None),
            _ => T::from_toml(value).map(Some),
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::to_toml)
    }
    fn from_words(words: &[String]) -> Option<Self> {
        match words {
            [word] if matches!(word.as_str(), "none" | "None" | "null") => Some(None),
            _ => T::from_words(words).map(Some),
        }
    }
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}

impl<T: Value> Value for Vec<T> {
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Array(list) => list.iter().map(T::from_toml).collect(),
            // One alone, as TRL takes it.
            one => T::from_toml(one).map(|one| vec![one]),
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        self.iter()
            .map(T::to_toml)
            .collect::<Option<_>>()
            .map(toml::Value::Array)
    }
    fn from_words(words: &[String]) -> Option<Self> {
        if let [word] = words
            && let list @ toml::Value::Array(_) = guess(word)
        {
            return Self::from_toml(&list);
        }
        words
            .iter()
            .map(|word| T::from_words(std::slice::from_ref(word)))
            .collect()
    }
}

/// A number of optimizer steps, or below 1 a share of the run, as transformers reads `warmup_steps`, `logging_steps`,
/// `eval_steps` and `save_steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steps {
    /// So many steps.
    Count(u64),
    /// This share of all steps, above 0 and below 1.
    Share(f64),
}

impl Steps {
    /// The number of steps in a run of `total`; a share is rounded up, as transformers does.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => (total as f64 * share).ceil() as u64,
        }
    }
}

impl Value for Steps {
    fn expected() -> String {
        "a whole number, or a share of all steps below 1".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let number = f64::from_toml(value)?;
        match number {
            0.0.. if number.fract() == 0.0 => Some(Self::Count(number as u64)),
            0.0..1.0 => Some(Self::Share(number)),
            _ => None,
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        match self {
            Self::Count(count) => count.to_toml(),
            Self::Share(share) => share.to_toml(),
        }
    }
    fn number(&self) -> Option<f64> {
        Some(match self {
            Self::Count(count) => *count as f64,
            Self::Share(share) => *share,
        })
    }
}

/// Declares an enum whose variants are written as the names beside them; the first name is the one that is saved.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $Name:ident {
        $($(#[doc = $doc:literal])+ $Variant:ident = $name:literal $(| $alias:literal)*,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name { $($(#[doc = $doc])+ $Variant,)+ }

        impl $Name {
            /// The name in the configuration.
            pub fn name(self) -> &'static str {
                match self { $(Self::$Variant => $name,)+ }
            }
        }

        impl $crate::config::Value for $Name {
            fn expected() -> String {
                ["one of", [$($name),+].join(", ").as_str()].join(" ")
            }
            fn from_toml(value: &toml::Value) -> Option<Self> {
                let word = match value {
                    // Where TRL has names beside true and false.
                    toml::Value::Boolean(yes) => if *yes { "true" } else { "false" },
                    other => other.as_str()?,
                };
                match word { $($name $(| $alias)* => Some(Self::$Variant),)+ _ => None }
            }
            fn to_toml(&self) -> Option<toml::Value> {
                Some(toml::Value::String(self.name().to_owned()))
            }
        }
    };
}
pub(super) use choice;
