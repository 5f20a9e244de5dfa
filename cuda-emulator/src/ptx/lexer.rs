//! Text to tokens (PTX ISA 4.1 to 4.5).

use super::Problem;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// An identifier or opcode: letters, digits, `_`, `$`, a leading `%`.
    Word(String),
    /// `.something`, without the dot; `::` stays inside it (`shared::cta`).
    Dot(String),
    /// A whole number, as its 64-bit pattern.
    Int(u64),
    /// `0f3F800000`, as its bits.
    F32(u32),
    /// `0d3FF0000000000000` or a decimal fraction, as its bits.
    F64(u64),
    /// A text in quotes, without them.
    Text(String),
    /// Anything else, one character.
    Punct(char),
}

/// All tokens of a file with the line each stands on, from 1.
pub fn tokens(source: &str) -> Result<Vec<(Token, u32)>, Problem> {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(source.len() / 4);
    let (mut i, mut line) = (0, 1);
    while i < bytes.len() {
        let c = bytes[i];
        let rest = &source[i..];
        let token_line = line;
        let token = match c {
            b'\n' => {
                line += 1;
                i += 1;
                continue;
            }
            _ if c.is_ascii_whitespace() => {
                i += 1;
                continue;
            }
            b'/' if rest.starts_with("//") => {
                i += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with("/*") => {
                let end = rest
                    .find("*/")
                    .ok_or(Problem::new(line, "a comment that does not end"))?
                    + 2;
                line += count_lines(&rest[..end]);
                i += end;
                continue;
            }
            b'"' => {
                let end = rest[1..]
                    .find('"')
                    .ok_or(Problem::new(line, "a text that does not end"))?;
                i += end + 2;
                line += count_lines(&rest[..end]);
                Token::Text(rest[1..=end].to_string())
            }
            b'.' => {
                let len = dotted(&bytes[i + 1..]);
                i += 1 + len;
                Token::Dot(rest[1..=len].to_string())
            }
            b'0'..=b'9' => {
                let len = bytes[i..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
                let fraction = bytes.get(i + len) == Some(&b'.') && !rest[..len].starts_with("0x");
                let len = if fraction { fraction_len(&bytes[i..]) } else { len };
                i += len;
                number(&rest[..len]).ok_or_else(|| Problem::new(line, format!("the number {}", &rest[..len])))?
            }
            _ if c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%') => {
                let len = 1 + bytes[i + 1..].iter().take_while(|&&b| word(b)).count();
                i += len;
                Token::Word(rest[..len].to_string())
            }
            _ if c.is_ascii() => {
                i += 1;
                Token::Punct(c as char)
            }
            _ => return Err(Problem::new(line, "a character that is not ASCII")),
        };
        out.push((token, token_line));
    }
    Ok(out)
}

fn count_lines(text: &str) -> u32 {
    text.bytes().filter(|&b| b == b'\n').count() as u32
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$'
}

/// Length of a name after a dot; a pair of colons belongs to it, a single one does not.
fn dotted(bytes: &[u8]) -> usize {
    let mut n = 0;
    loop {
        n += bytes[n..].iter().take_while(|&&b| word(b)).count();
        if bytes[n..].starts_with(b"::") {
            n += 2;
        } else {
            return n;
        }
    }
}

fn fraction_len(bytes: &[u8]) -> usize {
    let mut n = 0;
    while let Some(&b) = bytes.get(n) {
        let exponent_sign = matches!(b, b'+' | b'-') && matches!(bytes[n - 1], b'e' | b'E');
        if !(b.is_ascii_alphanumeric() || b == b'.' || exponent_sign) {
            break;
        }
        n += 1;
    }
    n
}

fn number(text: &str) -> Option<Token> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0f") {
        return Some(Token::F32(
            u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 8)?,
        ));
    }
    if let Some(hex) = lower.strip_prefix("0d") {
        return Some(Token::F64(
            u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16)?,
        ));
    }
    if lower.contains('.') {
        return Some(Token::F64(lower.parse::<f64>().ok()?.to_bits()));
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let value = match digits.as_bytes() {
        [b'0', b'x', ..] => u64::from_str_radix(&digits[2..], 16),
        [b'0', b'b', ..] => u64::from_str_radix(&digits[2..], 2),
        [b'0', _, ..] => u64::from_str_radix(&digits[1..], 8),
        _ => digits.parse(),
    };
    Some(Token::Int(value.ok()?))
}
