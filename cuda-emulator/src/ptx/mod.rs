//! The text: lexer, syntax tree, parser.

mod ast;
mod body;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub use ast::*;
pub use body::REGISTERS;
pub use parser::parse;

/// What cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the PTX, from 1.
    pub line: u32,
    /// What was found.
    pub message: String,
}

impl Problem {
    /// A problem on a line.
    pub fn new(line: u32, message: impl Into<String>) -> Problem {
        Problem {
            line,
            message: message.into(),
        }
    }
}
