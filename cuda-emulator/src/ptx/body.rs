//! The body of a function: declarations, labels, instructions.

use super::Problem;
use super::ast::*;
use super::lexer::Token;
use super::parser::{Cursor, params, space_of, type_bytes, variables};
use std::collections::HashMap;

/// Registers of a bank that a kernel may have, with all that it calls. A warp of the emulator holds them all.
pub const REGISTERS: u32 = 1 << 16;
/// Braces around a statement.
const SCOPES: usize = 256;
/// Operands within operands; no instruction has more than a vector in a list.
const OPERANDS: u32 = 8;

/// Names declared between one pair of braces.
#[derive(Default)]
struct Scope {
    names: HashMap<String, Register>,
    /// `%r<10>`: prefix, count, register 0.
    ranges: Vec<(String, u32, Register)>,
    /// Variables of this scope, by the name they have in the function.
    variables: HashMap<String, String>,
    number: u32,
}

struct Body<'a> {
    cursor: &'a mut Cursor,
    f: &'a mut Function,
    scopes: Vec<Scope>,
    scopes_seen: u32,
    labels: HashMap<(u32, String), u32>,
    /// Branches: instruction, label, and the scopes around it, innermost first.
    jumps: Vec<(usize, String, Vec<u32>)>,
    /// `.branchtargets`: name, labels, scopes.
    lists: Vec<(String, Vec<String>, Vec<u32>, u32)>,
    source: Source,
    /// Operands around the one that is read.
    depth: u32,
}

/// Reads up to the closing brace of the function.
pub(super) fn read(cursor: &mut Cursor, f: &mut Function) -> Result<(), Problem> {
    let mut body = Body {
        cursor,
        f,
        scopes: vec![Scope::default()],
        scopes_seen: 0,
        labels: HashMap::new(),
        jumps: Vec::new(),
        lists: Vec::new(),
        source: Source::default(),
        depth: 0,
    };
    while !body.scopes.is_empty() {
        body.statement()?;
    }
    body.resolve()
}

/// The bank of a type and its bits.
fn bank_of(name: &str) -> Option<(Bank, u32)> {
    if name == "pred" {
        return Some((Bank::P, 1));
    }
    let bytes = type_bytes(name)?;
    let bank = match bytes {
        8 => Bank::D,
        16 => Bank::Q,
        _ => Bank::R,
    };
    Some((bank, 8 * bytes as u32))
}

impl Body<'_> {
    fn scope_numbers(&self) -> Vec<u32> {
        self.scopes.iter().rev().map(|s| s.number).collect()
    }

    fn statement(&mut self) -> Result<(), Problem> {
        let line = self.cursor.line();
        if self.cursor.eat('}') {
            self.scopes.pop();
            return Ok(());
        }
        if self.cursor.eat('{') {
            if self.scopes.len() >= SCOPES {
                return Err(Problem::new(line, format!("more than {SCOPES} scopes, one in another")));
            }
            self.scopes_seen += 1;
            self.scopes.push(Scope {
                number: self.scopes_seen,
                ..Scope::default()
            });
            return Ok(());
        }
        if self.cursor.eat(';') {
            return Ok(());
        }
        if let Some(directive) = self.cursor.eat_dot() {
            return self.directive(&directive, line);
        }
        if let (Some(Token::Word(_)), Some(Token::Punct(':'))) = (self.cursor.peek(), self.cursor.peek_second()) {
            let name = self.cursor.word()?;
            self.cursor.want(':')?;
            return self.label(name, line);
        }
        self.instruction(line)
    }

    fn label(&mut self, name: String, line: u32) -> Result<(), Problem> {
        let directive = match self.cursor.peek() {
            Some(Token::Dot(word)) => word.clone(),
            _ => String::new(),
        };
        match directive.as_str() {
            "branchtargets" => {
                self.cursor.take()?;
                let mut labels = Vec::new();
                while !self.cursor.eat(';') {
                    labels.push(self.cursor.word()?);
                    self.cursor.eat(',');
                }
                let scopes = self.scope_numbers();
                self.lists.push((name, labels, scopes, line));
            }
            "calltargets" => {
                while !self.cursor.eat(';') {
                    self.cursor.take()?;
                }
            }
            // What an indirect call passes is known from its operands.
            "callprototype" => {
                self.cursor.take()?;
                if self.cursor.at('(') {
                    params(self.cursor)?;
                }
                self.cursor.word()?;
                if self.cursor.at('(') {
                    params(self.cursor)?;
                }
                while !self.cursor.eat(';') {
                    self.cursor.take()?;
                }
            }
            _ => {
                let number = self.scopes.last().map_or(0, |s| s.number);
                if self
                    .labels
                    .insert((number, name.clone()), self.f.body.len() as u32)
                    .is_some()
                {
                    return Err(Problem::new(line, format!("the label {name} a second time")));
                }
            }
        }
        Ok(())
    }

    fn directive(&mut self, name: &str, line: u32) -> Result<(), Problem> {
        match name {
            "reg" => self.registers(line)?,
            "loc" => return self.location(),
            "pragma" => {
                self.cursor.take()?;
            }
            _ => {
                let space = space_of(name).ok_or_else(|| Problem::new(line, format!("the directive .{name}")))?;
                for mut v in variables(self.cursor, space, false)? {
                    let plain = v.name.clone();
                    // A scope may hide a name: variables of inner scopes get one of their own.
                    if let Some(scope) = self.scopes.last_mut().filter(|s| s.number > 0) {
                        v.name = format!("{}@{}", v.name, scope.number);
                        scope.variables.insert(plain, v.name.clone());
                    }
                    self.f.variables.push(v);
                }
            }
        }
        self.cursor.want(';')
    }

    fn registers(&mut self, line: u32) -> Result<(), Problem> {
        let ty = self.cursor.dot()?;
        let (bank, bits) = bank_of(&ty).ok_or_else(|| Problem::new(line, format!("the register type .{ty}")))?;
        loop {
            let name = self.cursor.word()?;
            let index = self.f.registers[bank as usize];
            let first = Register { bank, index, bits };
            let Some(scope) = self.scopes.last_mut() else {
                return Ok(());
            };
            let mut count = 1;
            if self.cursor.eat('<') {
                count = self.cursor.small()?;
                self.cursor.want('>')?;
                scope.ranges.push((name, count, first));
            } else {
                scope.names.insert(name, first);
            }
            let all = index.saturating_add(count);
            if all > REGISTERS {
                return Err(Problem::new(line, format!("more than {REGISTERS} registers of a kind")));
            }
            self.f.registers[bank as usize] = all;
            if !self.cursor.eat(',') {
                return Ok(());
            }
        }
    }

    fn location(&mut self) -> Result<(), Problem> {
        let file = self.cursor.small()?;
        let line = self.cursor.small()?;
        self.cursor.int()?;
        let mut inlined_at = (0, 0);
        while self.cursor.eat(',') {
            match self.cursor.word()?.as_str() {
                "inlined_at" => {
                    inlined_at = (self.cursor.small()?, self.cursor.small()?);
                    self.cursor.int()?;
                }
                _ => {
                    self.cursor.word()?;
                    self.cursor.offset()?;
                }
            }
        }
        // Line 0 marks code that belongs to no line; the last real one says more.
        if line != 0 {
            self.source = Source { file, line, inlined_at };
        }
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<Register> {
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let number: Option<u32> = name[digits..].parse().ok();
        for scope in self.scopes.iter().rev() {
            if let Some(&r) = scope.names.get(name) {
                return Some(r);
            }
            for (prefix, count, first) in &scope.ranges {
                if let Some(n) = number.filter(|n| n < count && *prefix == name[..digits]) {
                    return Some(Register {
                        index: first.index + n,
                        ..*first
                    });
                }
            }
        }
        None
    }

    fn predicate(&mut self, line: u32) -> Result<Register, Problem> {
        let name = self.cursor.word()?;
        match self.lookup(&name) {
            Some(r) if r.bank == Bank::P => Ok(r),
            _ => Err(Problem::new(line, format!("{name} is no predicate"))),
        }
    }

    fn instruction(&mut self, line: u32) -> Result<(), Problem> {
        let mut guard = None;
        if self.cursor.eat('@') {
            let negated = self.cursor.eat('!');
            guard = Some((self.predicate(line)?.index, negated));
        }
        let mut op = vec![self.cursor.word()?];
        while let Some(modifier) = self.cursor.eat_dot() {
            op.push(modifier);
        }
        let mut operands = Vec::new();
        if !self.cursor.at(';') {
            loop {
                operands.push(self.operand(line)?);
                if !self.cursor.eat(',') {
                    break;
                }
            }
        }
        self.cursor.want(';')?;
        if op[0] == "bra" {
            let Some(Operand::Symbol(label, 0)) = operands.first() else {
                return Err(Problem::new(line, "a branch that goes to no label"));
            };
            self.jumps
                .push((self.f.body.len(), label.clone(), self.scope_numbers()));
        }
        self.f.body.push(Instruction {
            guard,
            op,
            operands,
            target: None,
            line,
            source: self.source,
        });
        Ok(())
    }

    fn operands(&mut self, close: char, line: u32) -> Result<Vec<Operand>, Problem> {
        let mut list = Vec::new();
        while !self.cursor.eat(close) {
            list.push(self.operand(line)?);
            self.cursor.eat(',');
        }
        Ok(list)
    }

    fn operand(&mut self, line: u32) -> Result<Operand, Problem> {
        if self.depth == OPERANDS {
            return Err(Problem::new(
                line,
                format!("more than {OPERANDS} operands, one in another"),
            ));
        }
        self.depth += 1;
        let operand = self.any_operand(line);
        self.depth -= 1;
        operand
    }

    fn any_operand(&mut self, line: u32) -> Result<Operand, Problem> {
        let first = match self.cursor.take()? {
            Token::Punct('{') => Operand::Vector(self.operands('}', line)?),
            Token::Punct('(') => Operand::List(self.operands(')', line)?),
            Token::Punct('[') => {
                let base = self.operand(line)?;
                let offset = self.cursor.offset()?;
                if self.cursor.eat(',') {
                    let index = self.operand(line)?;
                    self.cursor.want(']')?;
                    let base = Operand::Address(Box::new(base), offset);
                    return Ok(Operand::Indexed(Box::new(base), Box::new(index)));
                }
                self.cursor.want(']')?;
                match base {
                    Operand::Symbol(name, more) => {
                        Operand::Address(Box::new(Operand::Symbol(name, 0)), offset.wrapping_add(more))
                    }
                    base => Operand::Address(Box::new(base), offset),
                }
            }
            Token::Punct('!') => Operand::Not(self.predicate(line)?),
            Token::Punct('-') => match self.cursor.take()? {
                Token::Int(v) => Operand::Int(v.wrapping_neg()),
                Token::F32(v) => Operand::F32(v ^ 1 << 31),
                Token::F64(v) => Operand::F64(v ^ 1 << 63),
                other => return Err(Problem::new(line, format!("-{other:?}"))),
            },
            Token::Int(v) => Operand::Int(v),
            Token::F32(v) => Operand::F32(v),
            Token::F64(v) => Operand::F64(v),
            Token::Word(word) => self.name(word)?,
            other => return Err(Problem::new(line, format!("the operand {other:?}"))),
        };
        if self.cursor.eat('|') {
            let second = self.operand(line)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn name(&mut self, mut word: String) -> Result<Operand, Problem> {
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(r) = self.lookup(&word) {
            return Ok(Operand::Reg(r));
        }
        if word.starts_with('%') {
            while let Some(part) = self.cursor.eat_dot() {
                word.push('.');
                word.push_str(&part);
            }
            return Ok(Operand::Special(word));
        }
        let hidden = self.scopes.iter().rev().find_map(|s| s.variables.get(&word));
        let word = hidden.cloned().unwrap_or(word);
        let offset = self.cursor.offset()?;
        Ok(Operand::Symbol(word, offset))
    }

    fn resolve(self) -> Result<(), Problem> {
        let find = |label: &str, scopes: &[u32], line: u32| {
            let hit = scopes.iter().find_map(|&n| self.labels.get(&(n, label.to_string())));
            hit.copied()
                .ok_or_else(|| Problem::new(line, format!("no label {label}")))
        };
        for (at, label, scopes) in &self.jumps {
            let line = self.f.body[*at].line;
            self.f.body[*at].target = Some(find(label, scopes, line)?);
        }
        for (name, labels, scopes, line) in &self.lists {
            let targets: Result<Vec<u32>, Problem> = labels.iter().map(|l| find(l, scopes, *line)).collect();
            self.f.branch_targets.insert(name.clone(), targets?);
        }
        Ok(())
    }
}
