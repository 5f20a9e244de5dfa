//! Numbers as people and models write them, exactly: `1,234`, `-\frac{1}{2}`, `3 1/2`, `$5.00`, `50\%`, `2 million`, `12 \text{ cm}`.
use std::sync::LazyLock;

use regex::Regex;

#[cfg(test)]
mod tests;

/// A fraction in lowest terms, and whether a percent sign stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    numerator: i128,
    /// Above zero.
    denominator: i128,
    percent: bool,
}

impl Number {
    /// All of `text` as one number. Dropped: white space around, `$`, currency signs, math delimiters, what stands before the
    /// last `=`, a full stop at the end, and a unit (words without digits). A comma groups thousands and nothing else; so
    /// does a space. `None` for anything else, also for what does not fit 128 bits.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = plain(text);
        let plain = plain.rsplit(['=', '≈']).next().unwrap_or_default();
        let plain = plain.trim().trim_end_matches(['.', ',', ';', '!']).trim_end();
        let mut reader = Reader { rest: plain };
        let mut number = reader.signed()?;
        reader.scale(&mut number)?;
        number.percent = reader.percent();
        is_unit(reader.rest).then_some(number)
    }

    /// The last number in `text`.
    pub fn last(text: &str) -> Option<Self> {
        let text = text.replace('−', "-");
        let found = TOKEN.find_iter(&text).last()?;
        let token = found.as_str();
        // A minus behind a word is a dash or a difference: "10-5", "mid-2020".
        let before = text[..found.start()].chars().next_back();
        let joined = before.is_some_and(|c| c.is_alphanumeric() || c == ')' || c == '}');
        let token = if joined { token.trim_start_matches('-') } else { token };
        // A list, not thousands: the last of it.
        Self::parse(token).or_else(|| Self::parse(token.rsplit(',').next()?))
    }

    /// Whether the two are the same, to `tolerance`. 50% is 50 to a number without the sign, and 0.5 too.
    pub fn same(self, other: Self, tolerance: f64) -> bool {
        let near = |a: Self, b: Self| {
            let equal = (a.numerator, a.denominator) == (b.numerator, b.denominator);
            equal || (a.value() - b.value()).abs() <= tolerance && tolerance > 0.0
        };
        let part = |n: Self| Self::new(n.numerator, n.denominator.checked_mul(100)?);
        match (self.percent, other.percent) {
            (true, false) => near(self, other) || part(self).is_some_and(|p| near(p, other)),
            (false, true) => near(self, other) || part(other).is_some_and(|p| near(self, p)),
            _ => near(self, other),
        }
    }

    fn value(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?;
        let sign = denominator.signum();
        Some(Self {
            numerator: (numerator / divisor).checked_mul(sign)?,
            denominator: (denominator / divisor).checked_mul(sign)?,
            percent: false,
        })
    }

    fn plus(self, other: Self) -> Option<Self> {
        let a = self.numerator.checked_mul(other.denominator)?;
        let b = other.numerator.checked_mul(self.denominator)?;
        Self::new(a.checked_add(b)?, self.denominator.checked_mul(other.denominator)?)
    }

    fn times(self, other: Self) -> Option<Self> {
        let top = self.numerator.checked_mul(other.numerator)?;
        Self::new(top, self.denominator.checked_mul(other.denominator)?)
    }

    fn over(self, other: Self) -> Option<Self> {
        let top = self.numerator.checked_mul(other.denominator)?;
        Self::new(top, self.denominator.checked_mul(other.numerator)?)
    }

    fn power_of_ten(exponent: i32) -> Option<Self> {
        let power = 10i128.checked_pow(exponent.unsigned_abs())?;
        if exponent < 0 {
            Self::new(1, power)
        } else {
            Self::new(power, 1)
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// A number within a text.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    let number =
        r"(?:\\[dtc]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}|\d+(?:,\d+)*(?:\.\d+)?(?:[eE][+-]?\d+\b)?(?:\s?/\s?\d+)?|\.\d+)";
    let behind = r"(?:\s?\\?%|\s(?:percent|dozen|hundred|thousand|million|billion|trillion)\b)?";
    regex(&format!(r"-?(?:\\?[$€£¥]\s?)?-?{number}{behind}"))
});

/// A pattern of this program's own.
pub(super) fn regex(pattern: &str) -> Regex {
    #[allow(clippy::expect_used, clippy::unwrap_used)]
    Regex::new(pattern).expect("a pattern of this file")
}

/// Commands of LaTeX that only change how their argument looks, with its brace.
const WRAPPERS: [&str; 9] = [
    "\\text{",
    "\\textbf{",
    "\\textit{",
    "\\textrm{",
    "\\mathrm{",
    "\\mathbf{",
    "\\mbox{",
    "\\boxed{",
    "\\operatorname{",
];

/// What LaTeX writes otherwise, in the order of replacement.
const SPELLINGS: [(&str, &str); 34] = [
    ("\u{2212}", "-"),
    ("\u{a0}", " "),
    ("\u{2009}", " "),
    ("\u{202f}", " "),
    ("\\left", ""),
    ("\\right", ""),
    ("\\displaystyle", ""),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\qquad", " "),
    ("\\quad", " "),
    ("\\!", ""),
    ("\\,", " "),
    ("\\;", " "),
    ("\\:", " "),
    ("\\ ", " "),
    ("~", " "),
    ("{,}", ","),
    ("\\(", ""),
    ("\\)", ""),
    ("\\[", ""),
    ("\\]", ""),
    ("\\$", ""),
    ("$", ""),
    ("€", ""),
    ("£", ""),
    ("¥", ""),
    ("\\%", "%"),
    ("\\approx", "≈"),
    ("^{\\circ}", "°"),
    ("^\\circ", "°"),
    ("\\times", "×"),
    ("\\cdot", "×"),
];

/// `text` without what LaTeX adds to it.
pub(super) fn plain(text: &str) -> String {
    let mut out = text.to_owned();
    for (from, to) in SPELLINGS {
        if out.contains(from) {
            out = out.replace(from, to);
        }
    }
    for wrapper in WRAPPERS {
        while let Some(start) = out.find(wrapper) {
            let inside = start + wrapper.len();
            let end = closing(&out[inside..]).map(|end| inside + end);
            let content = &out[inside..end.unwrap_or(out.len())];
            let rest = end.map_or("", |end| &out[end + 1..]);
            out = format!("{} {content} {rest}", &out[..start]);
        }
    }
    out.trim().to_owned()
}

/// Where the brace closes that is open at the start of `text`. `\{` and `\}` are not braces.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// What is left of the text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn signed(&mut self) -> Option<Number> {
        let negative = self.take("-");
        let _ = !negative && self.take("+");
        self.space();
        let number = self.unsigned()?;
        if negative {
            Number::new(number.numerator.checked_neg()?, number.denominator)
        } else {
            Some(number)
        }
    }

    /// A fraction, a decimal, a mixed number or two of them over each other.
    fn unsigned(&mut self) -> Option<Number> {
        if self.take("\\frac") {
            let (top, bottom) = (self.argument()?, self.argument()?);
            return top.over(bottom);
        }
        let whole = self.decimal()?;
        let behind = self.rest;
        self.space();
        if self.rest.starts_with("\\frac") {
            let part = self.unsigned()?;
            return whole.plus(part);
        }
        if self.take("/") {
            self.space();
            if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                return whole.over(self.decimal()?);
            }
        }
        // "3 1/2": a whole number, a space and a fraction.
        self.rest = behind;
        if behind.starts_with(' ') && whole.denominator == 1 {
            self.space();
            let (top, slash, bottom) = (self.digits(), self.take("/"), self.digits());
            if !top.is_empty() && slash && !bottom.is_empty() {
                return whole.plus(Number::new(top.parse().ok()?, bottom.parse().ok()?)?);
            }
            self.rest = behind;
        }
        Some(whole)
    }

    /// What `\frac` stands before: a group in braces, or one digit.
    fn argument(&mut self) -> Option<Number> {
        self.space();
        if self.take("{") {
            let end = closing(self.rest)?;
            let mut inside = Reader {
                rest: self.rest[..end].trim(),
            };
            self.rest = &self.rest[end + 1..];
            let number = inside.signed()?;
            return inside.rest.trim().is_empty().then_some(number);
        }
        let digit = self.rest.get(..1).filter(|d| d.as_bytes()[0].is_ascii_digit())?;
        self.rest = &self.rest[1..];
        Number::new(digit.parse().ok()?, 1)
    }

    /// Digits with groups of thousands, a fraction, an exponent.
    fn decimal(&mut self) -> Option<Number> {
        let mut digits = self.digits().to_owned();
        let short = (1..=3).contains(&digits.len());
        for separator in [',', ' '] {
            while let (true, Some(group)) = (short, self.group(separator)) {
                digits.push_str(group);
            }
        }
        if self.rest.starts_with(',') {
            return None;
        }
        let mut places = 0;
        let after_point = self.rest.strip_prefix('.').map(|rest| rest.as_bytes().first());
        if after_point.is_some_and(|next| next.is_some_and(u8::is_ascii_digit)) {
            self.take(".");
            let fraction = self.digits();
            places = i32::try_from(fraction.len()).ok()?;
            digits.push_str(fraction);
        } else if after_point.is_some() && !digits.is_empty() {
            self.take(".");
        }
        let number = Number::new(digits.parse().ok()?, 1)?.times(Number::power_of_ten(-places)?)?;
        match self.exponent() {
            Some(exponent) => number.times(Number::power_of_ten(exponent)?),
            None => Some(number),
        }
    }

    /// A separator and three digits, no more.
    fn group(&mut self, separator: char) -> Option<&'a str> {
        let rest = self.rest.strip_prefix(separator)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // "3 100/7" is a mixed number, not thousands.
        let mixed = separator == ' ' && rest[digits..].starts_with('/');
        if digits != 3 || mixed {
            return None;
        }
        let (group, rest) = rest.split_at(3);
        self.rest = rest;
        Some(group)
    }

    /// `e5`, `E-3`, `× 10^5`, `* 10^{-5}`.
    fn exponent(&mut self) -> Option<i32> {
        let begin = self.rest;
        let mut braces = false;
        let mut read = || {
            if !(self.take("e") || self.take("E")) {
                self.space();
                let times = self.take("×") || self.take("*");
                self.space();
                if !(times && self.take("10^")) {
                    return None;
                }
                braces = self.take("{");
            }
            let negative = self.take("-");
            let _ = !negative && self.take("+");
            let exponent: i32 = self.digits().parse().ok()?;
            if braces && !self.take("}") {
                return None;
            }
            Some(if negative { -exponent } else { exponent })
        };
        let exponent = read();
        if exponent.is_none() {
            self.rest = begin;
        }
        exponent
    }

    /// "million" and its like. `None` where the number becomes too large.
    fn scale(&mut self, number: &mut Number) -> Option<()> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let factor = match rest[..end].to_lowercase().as_str() {
            "dozen" => 12,
            "hundred" => 100,
            "thousand" => 1_000,
            "million" => 1_000_000,
            "billion" => 1_000_000_000,
            "trillion" => 1_000_000_000_000,
            _ => return Some(()),
        };
        self.rest = &rest[end..];
        *number = number.times(Number::new(factor, 1)?)?;
        Some(())
    }

    fn percent(&mut self) -> bool {
        self.space();
        self.take("%") || self.take("percent") || self.take("per cent")
    }
}

/// Words that make what stands behind a number more than a unit.
const NOT_UNITS: [&str; 14] = [
    "x", "y", "z", "n", "i", "pi", "sqrt", "root", "log", "ln", "sin", "cos", "or", "and",
];

/// Whether `text`, which stands behind a number, is a unit: words, a slash, a power; no other number and no operator.
fn is_unit(text: &str) -> bool {
    let mut power = false;
    for c in text.chars() {
        let fits = match c {
            '0'..='9' => power,
            '^' | '{' | '}' | '-' => true,
            _ => "/.'()° ²³µ\n\t".contains(c) || c.is_alphabetic() && !"π√".contains(c),
        };
        if !fits {
            return false;
        }
        power = c == '^' || power && "{-0123456789".contains(c);
    }
    let first = text.trim_start().chars().next();
    let begins = first.is_none_or(|c| c.is_alphabetic() || "/°(".contains(c));
    let mut words = text.split(|c: char| !c.is_alphabetic());
    begins && !words.any(|word| NOT_UNITS.contains(&word))
}
