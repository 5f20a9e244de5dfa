//! The format strings of `printf` in device code.

/// What is read of the device's memory.
pub enum Source {
    /// Offset in the argument block, and bytes.
    Argument(u64, usize),
    /// The address of a text.
    Text(u64),
}

/// What was read.
pub enum Value {
    /// An argument.
    Number(u64),
    /// A text, without its zero byte.
    Text(Vec<u8>),
}

/// Reads a source; none where it cannot be read.
pub type Read<'a> = dyn FnMut(Source) -> Option<Value> + 'a;

/// The most that a width or a precision counts for: no number has more digits, and what is beyond would only be padding.
const WIDEST: usize = 1 << 12;

/// Formats one call. Arguments lie in the block one after another, each aligned to its size; floats are doubles.
/// Returns the text and the number of arguments (what the device's `printf` returns), or -1 where one cannot be read.
pub fn format(text: &[u8], read: &mut Read) -> (Vec<u8>, i32) {
    let mut out = Vec::new();
    let (mut i, mut offset, mut count) = (0, 0u64, 0);
    while i < text.len() {
        if text[i] != b'%' {
            out.push(text[i]);
            i += 1;
            continue;
        }
        let start = i;
        i += 1;
        if text.get(i) == Some(&b'%') {
            out.push(b'%');
            i += 1;
            continue;
        }
        let mut next = |bytes: usize| {
            offset = offset.next_multiple_of(bytes as u64);
            let value = read(Source::Argument(offset, bytes));
            offset += bytes as u64;
            count += 1;
            match value {
                Some(Value::Number(v)) => Some(v),
                _ => None,
            }
        };
        let mut spec = Spec::default();
        while let Some(&c) = text.get(i) {
            match c {
                b'-' => spec.left = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'#' => spec.alternate = true,
                b'0' => spec.zero = true,
                _ => break,
            }
            i += 1;
        }
        let number = |i: &mut usize, next: &mut dyn FnMut(usize) -> Option<u64>| {
            if text.get(*i) == Some(&b'*') {
                *i += 1;
                return next(4).map_or(0, |v| v as i32);
            }
            let mut n = 0i32;
            while let Some(d) = text.get(*i).filter(|c| c.is_ascii_digit()) {
                n = n.saturating_mul(10).saturating_add(i32::from(d - b'0'));
                *i += 1;
            }
            n
        };
        let width = number(&mut i, &mut next);
        spec.left |= width < 0;
        spec.width = (width.unsigned_abs() as usize).min(WIDEST);
        if text.get(i) == Some(&b'.') {
            i += 1;
            spec.precision = usize::try_from(number(&mut i, &mut next)).ok().map(|n| n.min(WIDEST));
        }
        let mut bytes = 4;
        // An argument of `%hd` is passed as an int, and only its lower half is shown.
        let mut halves = 0;
        while let Some(&c) = text.get(i) {
            match c {
                b'l' | b'j' | b'z' | b't' => bytes = 8,
                b'h' => halves += 1,
                _ => break,
            }
            i += 1;
        }
        let Some(&conversion) = text.get(i) else {
            out.extend_from_slice(&text[start..]);
            break;
        };
        i += 1;
        let value = match conversion {
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' | b's' | b'p' => next(8),
            b'd' | b'i' | b'u' | b'o' | b'x' | b'X' => next(bytes),
            b'c' => next(4),
            _ => {
                out.extend_from_slice(&text[start..i]);
                continue;
            }
        };
        let Some(value) = value else { return (out, -1) };
        let is_signed = matches!(conversion, b'd' | b'i');
        let value = match (halves, conversion) {
            (0, _) => value,
            (1, _) if is_signed => value as i16 as u64,
            (_, _) if is_signed => value as i8 as u64,
            (1, b'u' | b'o' | b'x' | b'X') => u64::from(value as u16),
            (_, b'u' | b'o' | b'x' | b'X') => u64::from(value as u8),
            _ => value,
        };
        if conversion == b's' {
            let Some(Value::Text(mut text)) = read(Source::Text(value)) else {
                return (out, -1);
            };
            text.truncate(spec.precision.unwrap_or(usize::MAX));
            spec.pad(&mut out, b"", &text, false);
        } else {
            spec.convert(&mut out, conversion, value, bytes);
        }
    }
    (out, count)
}

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn convert(&self, out: &mut Vec<u8>, conversion: u8, v: u64, bytes: usize) {
        let short = |v: u64| if bytes == 4 { u64::from(v as u32) } else { v };
        match conversion {
            b'c' => self.pad(out, b"", &[v as u8], false),
            b'p' => self.pad(out, b"", format!("{v:#x}").as_bytes(), false),
            b'd' | b'i' => {
                let v = if bytes == 4 { i64::from(v as i32) } else { v as i64 };
                let digits = self.digits(v.unsigned_abs().to_string());
                self.pad(out, self.sign(v < 0), digits.as_bytes(), self.precision.is_none());
            }
            b'u' => self.pad(
                out,
                b"",
                self.digits(short(v).to_string()).as_bytes(),
                self.precision.is_none(),
            ),
            b'o' => {
                let prefix: &[u8] = if self.alternate { b"0" } else { b"" };
                self.pad(
                    out,
                    prefix,
                    self.digits(format!("{:o}", short(v))).as_bytes(),
                    self.precision.is_none(),
                );
            }
            b'x' | b'X' => {
                let v = short(v);
                let (digits, prefix): (_, &[u8]) = if conversion == b'x' {
                    (format!("{v:x}"), b"0x")
                } else {
                    (format!("{v:X}"), b"0X")
                };
                let prefix: &[u8] = if self.alternate && v != 0 { prefix } else { b"" };
                self.pad(out, prefix, self.digits(digits).as_bytes(), self.precision.is_none());
            }
            _ => self.float(out, conversion, f64::from_bits(v)),
        }
    }

    fn digits(&self, digits: String) -> String {
        let width = self.precision.unwrap_or(1);
        format!("{}{digits}", "0".repeat(width.saturating_sub(digits.len())))
    }

    fn sign(&self, negative: bool) -> &'static [u8] {
        match (negative, self.plus, self.space) {
            (true, ..) => b"-",
            (_, true, _) => b"+",
            (_, _, true) => b" ",
            _ => b"",
        }
    }

    fn pad(&self, out: &mut Vec<u8>, prefix: &[u8], text: &[u8], zeros: bool) {
        let fill = self.width.saturating_sub(prefix.len() + text.len());
        let zeros = zeros && self.zero && !self.left;
        if !self.left && !zeros {
            out.extend(std::iter::repeat_n(b' ', fill));
        }
        out.extend_from_slice(prefix);
        if zeros {
            out.extend(std::iter::repeat_n(b'0', fill));
        }
        out.extend_from_slice(text);
        if self.left {
            out.extend(std::iter::repeat_n(b' ', fill));
        }
    }

    fn float(&self, out: &mut Vec<u8>, conversion: u8, v: f64) {
        let negative = v.is_sign_negative();
        let x = v.abs();
        let precision = self.precision.unwrap_or(6);
        let text = if x.is_nan() {
            "nan".to_string()
        } else if x.is_infinite() {
            "inf".to_string()
        } else {
            match conversion.to_ascii_lowercase() {
                b'f' => format!("{x:.precision$}"),
                b'e' => exponential(x, precision),
                b'g' => self.shortest(x, precision.max(1)),
                _ => hexadecimal(x),
            }
        };
        let text = if conversion.is_ascii_uppercase() {
            text.to_uppercase()
        } else {
            text
        };
        self.pad(out, self.sign(negative), text.as_bytes(), x.is_finite());
    }

    fn shortest(&self, x: f64, precision: usize) -> String {
        let scientific = exponential(x, precision - 1);
        let exponent: i32 = scientific.rsplit('e').next().and_then(|e| e.parse().ok()).unwrap_or(0);
        let fixed = exponent >= -4 && exponent < precision as i32;
        let text = if fixed {
            format!("{x:.*}", (precision as i32 - 1 - exponent).max(0) as usize)
        } else {
            scientific
        };
        if self.alternate {
            return text;
        }
        let (number, tail) = text.split_at(text.find('e').unwrap_or(text.len()));
        let number = if number.contains('.') {
            number.trim_end_matches('0').trim_end_matches('.')
        } else {
            number
        };
        format!("{number}{tail}")
    }
}

/// As C writes it: at least two digits of exponent, always signed.
fn exponential(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{number}e{sign}{digits:0>2}")
}

fn hexadecimal(x: f64) -> String {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64;
    let fraction = format!("{:013x}", bits & ((1 << 52) - 1));
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let (lead, power) = match (exponent, fraction.is_empty()) {
        (0, true) => (0, 0),
        (0, false) => (0, -1022),
        _ => (1, exponent - 1023),
    };
    format!("0x{lead}{dot}{fraction}p{power:+}")
}
