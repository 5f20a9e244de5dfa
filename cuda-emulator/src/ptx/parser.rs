//! Tokens to the syntax tree: the file, its variables and the heads of functions.

use super::ast::*;
use super::lexer::{Token, tokens};
use super::{Problem, body};

/// Reads a file.
///
/// # Errors
/// The first thing that is not PTX as this emulator knows it.
pub fn parse(source: &str) -> Result<Module, Problem> {
    let mut cursor = Cursor {
        tokens: tokens(source)?,
        next: 0,
    };
    let mut module = Module::default();
    let mut external = false;
    while cursor.peek().is_some() {
        let line = cursor.line();
        let directive = cursor.dot()?;
        match directive.as_str() {
            "version" => module.version = version(&mut cursor)?,
            "target" => {
                module.target = cursor.word()?;
                while cursor.eat(',') {
                    cursor.word()?;
                }
            }
            "address_size" => {
                if cursor.int()? != 64 {
                    return Err(Problem::new(line, "an address size other than 64"));
                }
            }
            "visible" | "weak" | "common" => {}
            "extern" => {
                external = true;
                continue;
            }
            "file" => {
                let number = cursor.small()?;
                if let Token::Text(name) = cursor.take()? {
                    module.files.insert(number, name);
                }
                while cursor.eat(',') {
                    cursor.int()?;
                }
            }
            "section" => skip_section(&mut cursor)?,
            "pragma" => {
                cursor.take()?;
                cursor.want(';')?;
            }
            "entry" | "func" => module.functions.push(function(&mut cursor, directive == "entry")?),
            "alias" => return Err(Problem::new(line, "the directive .alias")),
            _ => {
                let space = space_of(&directive).ok_or_else(|| unknown(line, &directive))?;
                module.variables.extend(variables(&mut cursor, space, external)?);
                cursor.want(';')?;
            }
        }
        if !matches!(directive.as_str(), "visible" | "weak" | "common") {
            external = false;
        }
    }
    Ok(module)
}

fn unknown(line: u32, directive: &str) -> Problem {
    Problem::new(line, format!("the directive .{directive}"))
}

fn version(cursor: &mut Cursor) -> Result<(u32, u32), Problem> {
    let line = cursor.line();
    match cursor.take()? {
        Token::F64(bits) => {
            let tenths = (f64::from_bits(bits) * 10.0).round() as u32;
            Ok((tenths / 10, tenths % 10))
        }
        other => Err(Problem::new(line, format!("the version {other:?}"))),
    }
}

fn skip_section(cursor: &mut Cursor) -> Result<(), Problem> {
    while !cursor.eat('{') {
        cursor.take()?;
    }
    let mut depth = 1;
    while depth > 0 {
        match cursor.take()? {
            Token::Punct('{') => depth += 1,
            Token::Punct('}') => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// The space a directive names.
pub(super) fn space_of(directive: &str) -> Option<VariableSpace> {
    Some(match directive {
        "global" => VariableSpace::Global,
        "const" => VariableSpace::Const,
        "shared" => VariableSpace::Shared,
        "local" => VariableSpace::Local,
        "param" => VariableSpace::Param,
        _ => return None,
    })
}

/// Bytes of a fundamental type; none where the text is no type.
pub(super) fn type_bytes(name: &str) -> Option<usize> {
    Some(match name {
        "b8" | "u8" | "s8" | "e4m3" | "e5m2" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// Bytes of one variable.
const BYTES: usize = 1 << 28;
/// Initial values, those that braces leave out among them.
const INITIAL: usize = 1 << 22;
/// The largest alignment.
const ALIGN: u64 = 1 << 15;

/// Variables of one declaration, without the closing semicolon.
pub(super) fn variables(cursor: &mut Cursor, space: VariableSpace, external: bool) -> Result<Vec<Variable>, Problem> {
    let line = cursor.line();
    let (mut align, mut vector, mut ty) = (None, 1, None);
    while let Some(word) = cursor.eat_dot() {
        match word.as_str() {
            "align" => {
                let bytes = cursor.int()?;
                if !bytes.is_power_of_two() || bytes > ALIGN {
                    return Err(Problem::new(line, format!("the alignment {bytes}")));
                }
                align = Some(bytes as usize);
            }
            "v2" => vector = 2,
            "v4" => vector = 4,
            "v8" => vector = 8,
            // Of a pointer parameter: where it points. Nothing here needs it.
            "ptr" | "global" | "const" | "shared" | "local" => {}
            "attribute" => {
                cursor.want('(')?;
                while !cursor.eat(')') {
                    cursor.take()?;
                }
            }
            _ => ty = Some(word),
        }
    }
    let ty = ty.ok_or_else(|| Problem::new(line, "a variable without a type"))?;
    let element = type_bytes(&ty).ok_or_else(|| unknown(line, &ty))?;
    let mut list = Vec::new();
    loop {
        let name = cursor.word()?;
        // How often each level repeats the one below, the innermost last; none for `[]`.
        let mut levels = Vec::new();
        while cursor.eat('[') {
            if cursor.eat(']') {
                levels.push(None);
            } else {
                levels.push(Some(cursor.int()?));
                cursor.want(']')?;
            }
        }
        if vector > 1 {
            levels.push(Some(vector as u64));
        }
        if levels.iter().skip(1).any(Option::is_none) {
            return Err(Problem::new(line, format!("an inner dimension of {name} is missing")));
        }
        let mut init = Vec::new();
        if cursor.eat('=') {
            initialiser(cursor, &ty, &levels, &mut init)?;
        }
        if let [None, below @ ..] = levels.as_slice() {
            levels[0] = Some(match elements(below) {
                _ if external => 0,
                Some(n @ 1..) => init.len().div_ceil(n) as u64,
                _ => 0,
            });
        }
        let size = elements(&levels).and_then(|n| n.checked_mul(element));
        let size = size.filter(|&bytes| bytes <= BYTES);
        let size = size.ok_or_else(|| Problem::new(line, format!("{name} has more than {BYTES} bytes")))?;
        list.push(Variable {
            name,
            space,
            align: align.unwrap_or(element * vector),
            element,
            size,
            init,
            external,
            line,
        });
        if space == VariableSpace::Param || !cursor.eat(',') {
            return Ok(list);
        }
    }
}

/// Elements of an array of these dimensions; none where there are too many, or one is not known.
fn elements(levels: &[Option<u64>]) -> Option<usize> {
    let all = levels.iter().try_fold(1u64, |n, level| n.checked_mul((*level)?));
    usize::try_from(all?).ok()
}

/// The initial value of an array of these dimensions, or of one element. What a brace leaves out is zero.
fn initialiser(cursor: &mut Cursor, ty: &str, levels: &[Option<u64>], out: &mut Vec<Initial>) -> Result<(), Problem> {
    let line = cursor.line();
    let [level, below @ ..] = levels else {
        out.push(initial_value(cursor, ty)?);
        return Ok(());
    };
    cursor.want('{')?;
    let each = elements(below).filter(|&n| n <= BYTES);
    let each = each.ok_or_else(|| Problem::new(line, "an array that is too large"))?;
    let mut count = 0;
    while !cursor.eat('}') {
        if level.is_some_and(|n| count == n) {
            return Err(Problem::new(line, "more initial values than the array holds"));
        }
        let start = out.len();
        initialiser(cursor, ty, below, out)?;
        count += 1;
        // Only what is followed by more has to be filled up.
        if !cursor.at('}') {
            cursor.want(',')?;
            if start + each > INITIAL {
                return Err(Problem::new(line, "an array that is too large"));
            }
            out.resize(start + each, Initial::Bits(0));
        }
    }
    // The last one of an array whose length is told by them.
    if level.is_none() && !out.is_empty() {
        if out.len().div_ceil(each.max(1)) * each > INITIAL {
            return Err(Problem::new(line, "an array that is too large"));
        }
        out.resize(count as usize * each, Initial::Bits(0));
    }
    Ok(())
}

/// The initial value of one element.
fn initial_value(cursor: &mut Cursor, ty: &str) -> Result<Initial, Problem> {
    let line = cursor.line();
    let mismatch = |what: &str| Problem::new(line, format!("{what} as the initial value of a variable of type .{ty}"));
    let (wide, float) = (matches!(ty, "b64" | "u64" | "s64"), matches!(ty, "f32" | "f64"));
    let negative = cursor.eat('-');
    Ok(match cursor.take()? {
        Token::Int(v) if !float => Initial::Bits(if negative { v.wrapping_neg() } else { v }),
        Token::Int(_) => return Err(mismatch("a whole number")),
        Token::F32(_) | Token::F64(_) if !float => return Err(mismatch("a fraction")),
        Token::F32(v) => {
            let v = v ^ u32::from(negative) << 31;
            Initial::Bits(if ty == "f64" {
                f64::from(f32::from_bits(v)).to_bits()
            } else {
                v.into()
            })
        }
        Token::F64(v) => {
            let v = v ^ u64::from(negative) << 63;
            Initial::Bits(if ty == "f64" {
                v
            } else {
                (f64::from_bits(v) as f32).to_bits().into()
            })
        }
        Token::Word(_) if negative || !wide => return Err(mismatch("an address")),
        Token::Word(word) => {
            let generic = word == "generic" && cursor.eat('(');
            let symbol = if generic { cursor.word()? } else { word };
            if generic {
                cursor.want(')')?;
            }
            let offset = cursor.offset()?;
            Initial::Address {
                symbol,
                offset,
                generic,
            }
        }
        other => return Err(Problem::new(line, format!("the initial value {other:?}"))),
    })
}

fn function(cursor: &mut Cursor, entry: bool) -> Result<Function, Problem> {
    let mut f = Function {
        entry,
        line: cursor.line(),
        ..Function::default()
    };
    attributes(cursor, &mut f)?;
    if cursor.at('(') {
        f.returns = params(cursor)?;
    }
    f.name = cursor.word()?;
    if cursor.at('(') {
        f.params = params(cursor)?;
    }
    attributes(cursor, &mut f)?;
    if cursor.eat(';') {
        return Ok(f);
    }
    cursor.want('{')?;
    f.defined = true;
    body::read(cursor, &mut f)?;
    Ok(f)
}

fn attributes(cursor: &mut Cursor, f: &mut Function) -> Result<(), Problem> {
    loop {
        let line = cursor.line();
        let Some(word) = cursor.eat_dot() else { return Ok(()) };
        match word.as_str() {
            "maxntid" => f.max_threads = Some(extent(cursor)?),
            "reqntid" => f.required_threads = Some(extent(cursor)?),
            "minnctapersm" => f.min_blocks = Some(cursor.small()?),
            "maxnreg" | "maxclusterrank" => {
                cursor.int()?;
            }
            "noreturn" | "unified" | "weak" | "visible" => {}
            "pragma" => {
                cursor.take()?;
                cursor.want(';')?;
            }
            // Clusters of more than one block are not emulated.
            "reqnctapercluster" | "explicitcluster" => {
                if word == "reqnctapercluster" && extent(cursor)? != [1, 1, 1] {
                    return Err(Problem::new(line, "a cluster of more than one block"));
                }
            }
            _ => return Err(unknown(line, &word)),
        }
    }
}

fn extent(cursor: &mut Cursor) -> Result<[u32; 3], Problem> {
    let mut out = [1; 3];
    for (i, value) in out.iter_mut().enumerate() {
        if i == 0 || cursor.eat(',') {
            *value = cursor.small()?;
        }
    }
    Ok(out)
}

pub(super) fn params(cursor: &mut Cursor) -> Result<Vec<Variable>, Problem> {
    let mut list = Vec::new();
    cursor.want('(')?;
    while !cursor.eat(')') {
        let line = cursor.line();
        let space = cursor.dot()?;
        if space != "param" {
            return Err(Problem::new(line, format!("a parameter in .{space}")));
        }
        list.extend(variables(cursor, VariableSpace::Param, false)?);
        cursor.eat(',');
    }
    Ok(list)
}

/// A place in the tokens.
pub(super) struct Cursor {
    tokens: Vec<(Token, u32)>,
    next: usize,
}

impl Cursor {
    pub fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.next.min(last)).map_or(0, |t| t.1)
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|t| &t.0)
    }

    pub fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.next + 1).map(|t| &t.0)
    }

    pub fn take(&mut self) -> Result<Token, Problem> {
        let token = self
            .peek()
            .cloned()
            .ok_or_else(|| Problem::new(self.line(), "the file ends too early"))?;
        self.next += 1;
        Ok(token)
    }

    pub fn at(&self, c: char) -> bool {
        self.peek() == Some(&Token::Punct(c))
    }

    pub fn eat(&mut self, c: char) -> bool {
        let found = self.at(c);
        self.next += usize::from(found);
        found
    }

    pub fn want(&mut self, c: char) -> Result<(), Problem> {
        let line = self.line();
        match self.take()? {
            Token::Punct(found) if found == c => Ok(()),
            other => Err(Problem::new(line, format!("{other:?} where {c:?} was expected"))),
        }
    }

    pub fn word(&mut self) -> Result<String, Problem> {
        let line = self.line();
        match self.take()? {
            Token::Word(word) => Ok(word),
            other => Err(Problem::new(line, format!("{other:?} where a name was expected"))),
        }
    }

    pub fn dot(&mut self) -> Result<String, Problem> {
        let line = self.line();
        match self.take()? {
            Token::Dot(word) => Ok(word),
            other => Err(Problem::new(line, format!("{other:?} where a directive was expected"))),
        }
    }

    pub fn eat_dot(&mut self) -> Option<String> {
        let Some(Token::Dot(word)) = self.peek() else {
            return None;
        };
        let word = word.clone();
        self.next += 1;
        Some(word)
    }

    pub fn int(&mut self) -> Result<u64, Problem> {
        let line = self.line();
        match self.take()? {
            Token::Int(v) => Ok(v),
            other => Err(Problem::new(line, format!("{other:?} where a number was expected"))),
        }
    }

    /// A number of 32 bits.
    pub fn small(&mut self) -> Result<u32, Problem> {
        let line = self.line();
        let value = self.int()?;
        value
            .try_into()
            .map_err(|_| Problem::new(line, format!("the number {value}")))
    }

    /// An optional `+n`, `-n` or `+-n`.
    pub fn offset(&mut self) -> Result<i64, Problem> {
        let plus = self.eat('+');
        let minus = self.eat('-');
        if !plus && !minus {
            return Ok(0);
        }
        let value = self.int()? as i64;
        Ok(if minus { value.wrapping_neg() } else { value })
    }
}
