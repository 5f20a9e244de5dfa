//! The dotted parts of an opcode, taken one by one, so that one that nobody took is an error.

/// What is left of an opcode's modifiers.
pub struct Modifiers<'a> {
    left: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// Of an opcode split at its dots.
    pub fn new(op: &'a [String]) -> Modifiers<'a> {
        Modifiers {
            left: op[1..].iter().map(String::as_str).collect(),
        }
    }

    /// Takes a modifier if it is there.
    pub fn take(&mut self, name: &str) -> bool {
        let found = self.left.iter().position(|&m| m == name);
        if let Some(at) = found {
            self.left.remove(at);
        }
        found.is_some()
    }

    /// Takes the first of these that is there.
    pub fn one_of<T: Copy>(&mut self, names: &[(&str, T)]) -> Option<T> {
        names.iter().find(|(name, _)| self.take(name)).map(|&(_, value)| value)
    }

    /// Takes the first that `f` knows.
    pub fn find<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self.left.iter().enumerate().find_map(|(i, m)| Some((i, f(m)?)))?;
        self.left.remove(at);
        Some(value)
    }

    /// Takes the last.
    pub fn last(&mut self) -> Result<&'a str, String> {
        self.left.pop().ok_or_else(|| "a type is missing".to_string())
    }

    /// Drops those for which `f` holds: they change nothing here.
    pub fn ignore(&mut self, f: impl Fn(&str) -> bool) {
        self.left.retain(|m| !f(m));
    }

    /// An error if something is left.
    pub fn done(&self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some(m) => Err(format!("the modifier .{m} is not known here")),
        }
    }
}
