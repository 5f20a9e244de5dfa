use super::*;
use quickcheck::{TestResult, quickcheck};

fn same(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (Number::parse(a), Number::parse(b)) else {
        panic!("{a:?} or {b:?} is no number");
    };
    a.same(b, 0.0)
}

#[test]
fn the_same_numbers() {
    for (a, b) in [
        ("42", "42"),
        ("1,234", "1234"),
        ("1,234,567.50", "1234567.5"),
        ("1 234 567", "1234567"),
        ("1{,}234", "1234"),
        ("1\\,234", "1234"),
        ("12\u{202f}000", "12000"),
        ("-5", "\u{2212}5"),
        ("- 5", "-5"),
        ("+5", "5"),
        ("-0", "0"),
        ("007", "7"),
        ("5.", "5"),
        ("5.00", "5"),
        (".5", "0.5"),
        ("0.5", "1/2"),
        ("\\frac{1}{2}", "0.5"),
        ("\\dfrac{1}{2}", "1/2"),
        ("\\tfrac{3}{6}", "1/2"),
        ("\\frac12", "0.5"),
        ("\\frac1{2}", "0.5"),
        ("-\\frac{1}{2}", "-0.5"),
        ("\\frac{-1}{2}", "-1/2"),
        ("\\frac{1}{-2}", "-1/2"),
        ("\\frac{\\frac{1}{2}}{3}", "1/6"),
        ("\\frac{1,000}{3}", "1000/3"),
        ("\\frac{\\text{1}}{2}", "1/2"),
        ("3 1/2", "3.5"),
        ("3\\frac{1}{2}", "7/2"),
        ("3 \\frac{1}{2}", "7/2"),
        ("-3 1/2", "-3.5"),
        ("3 100/7", "121/7"),
        ("1 / 3", "2/6"),
        ("$5", "5"),
        ("$1,000.00", "1000"),
        ("-$5", "-5"),
        ("$-5$", "-5"),
        ("\\$5", "5"),
        ("€ 7", "7"),
        ("$\\frac{1}{3}$", "1/3"),
        ("\\(42\\)", "42"),
        ("\\[42\\]", "42"),
        ("$$42$$", "42"),
        ("\\boxed{42}", "42"),
        ("x = 42", "42"),
        ("f(2) = 2 + 2 = 4", "4"),
        ("\\pi \\approx 3.14", "3.14"),
        ("42 apples", "42"),
        ("42 \\text{ cm}", "42"),
        ("42\\text{ cm}^2", "42"),
        ("42 cm^2", "42"),
        ("60 km/h", "60"),
        ("60 \\frac{1}{2} km", "60.5"),
        ("9.8 m/s^{2}", "9.8"),
        ("90^\\circ", "90"),
        ("90^{\\circ}", "90°"),
        ("1/2 cup", "0.5"),
        ("5 people.", "5"),
        ("1e3", "1000"),
        ("1.5E-2", "0.015"),
        ("3 \\times 10^{5}", "300000"),
        ("3 \\cdot 10^-2", "0.03"),
        ("2 million", "2,000,000"),
        ("1.5 thousand dollars", "1500"),
        ("two dozen = 2 dozen", "24"),
        ("50%", "50\\%"),
        ("50%", "50"),
        ("50%", "0.5"),
        ("12.5 percent", "1/8"),
        ("\\left(\\right)5", "()5"),
    ] {
        if a == "\\left(\\right)5" {
            assert_eq!(Number::parse(a), None);
            continue;
        }
        assert!(same(a, b), "{a:?} and {b:?}");
        assert!(same(b, a), "{b:?} and {a:?}");
    }
}

#[test]
fn other_numbers() {
    for (a, b) in [
        ("1", "2"),
        ("1/3", "0.333333333"),
        ("0.1", "0.10000000000000001"),
        ("123456789012345678901", "123456789012345678902"),
        ("50%", "5"),
        ("50%", "0.5%"),
        ("3 1/2", "31/2"),
        ("-5", "5"),
        ("2 million", "2"),
    ] {
        assert!(!same(a, b) && !same(b, a), "{a:?} and {b:?}");
    }
}

#[test]
fn no_numbers() {
    for text in [
        "",
        " ",
        "-",
        "$",
        "%",
        ".",
        "/",
        "1/0",
        "\\frac{1}{0}",
        "\\frac{1}",
        "\\frac",
        "\\frac{}{}",
        "\\frac{1}{2",
        "forty",
        "12,34",
        "1,2,3",
        "1,2345",
        "1, 2",
        "(1, 2)",
        "10:30",
        "3:4",
        "5 or 6",
        "5 and",
        "2x",
        "2 x",
        "3\\pi",
        "3π",
        "5\\sqrt{2}",
        "5 sqrt(2)",
        "2 + 2",
        "1-2",
        "5 < 6",
        "1/2/3",
        "2024-01-05",
        "1.2.3",
        "1e99",
        "1e-99",
        "5 6 7 8",
        "{5}",
        "5}{",
        "100000000000000000000000000000000000000000",
        "x = ",
        "about 5",
    ] {
        assert_eq!(Number::parse(text), None, "{text:?}");
    }
}

#[test]
fn tolerance_is_a_difference() {
    let [third, near] = ["1/3", "0.333"].map(|t| Number::parse(t).unwrap());
    assert!(third.same(near, 1e-3) && !third.same(near, 1e-4) && !third.same(near, 0.0));
}

#[test]
fn the_last_number_of_a_text() {
    for (text, last) in [
        ("The answer is 42.", "42"),
        ("So 6 * 7 = 42", "42"),
        ("1,234 apples", "1234"),
        ("1,234,", "1234"),
        ("first 1, then 2, and 3,", "3"),
        ("the numbers are 1,2,3", "3"),
        ("10-5", "5"),
        ("is -5", "-5"),
        ("= -5", "-5"),
        ("(-5)", "-5"),
        ("is \u{2212}5", "-5"),
        ("costs -$5.50!", "-5.5"),
        ("costs $1,000", "1000"),
        ("half, or \\frac{1}{2} of it", "1/2"),
        ("-\\frac{1}{2}", "-1/2"),
        ("about 1/3", "1/3"),
        ("so 50\\%.", "50%"),
        ("2 million people", "2000000"),
        ("1e3 of them", "1000"),
        ("x2y", "2"),
        ("#### 18", "18"),
        ("\\boxed{7}", "7"),
        ("on 2024-01-05", "5"),
        ("0.5.", "0.5"),
        ("it is .5", "0.5"),
        ("🙂 3 🙂", "3"),
    ] {
        assert_eq!(Number::last(text), Number::parse(last), "{text:?}");
    }
    for text in ["", "none", "-", "1e99", "½"] {
        assert_eq!(Number::last(text), None, "{text:?}");
    }
}

/// What a machine would draw of the alphabet that matters.
fn nasty(letters: &[u8]) -> String {
    const ALPHABET: [&str; 32] = [
        "0", "1", "9", "12", "345", "-", "+", ".", ",", "/", "%", " ", "$", "{", "}", "\\", "\\frac", "\\text{", "^",
        "e", "×", "10^", "=", "million", "cm", "π", "\u{2212}", "\\boxed{", "(", ")", "é", "\n",
    ];
    letters.iter().map(|i| ALPHABET[*i as usize % ALPHABET.len()]).collect()
}

quickcheck! {
    fn nothing_panics(text: String, letters: Vec<u8>) -> bool {
        for text in [text, nasty(&letters)] {
            for n in [Number::parse(&text), Number::last(&text)].into_iter().flatten() {
                assert!(n.denominator > 0 && n.same(n, 0.0), "{text:?} {n:?}");
            }
        }
        true
    }

    fn whole_numbers_however_written(n: i64) -> bool {
        let digits = n.unsigned_abs().to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
        let sign = if n < 0 { "-" } else { "" };
        let plain = Number::parse(&n.to_string());
        assert_eq!(plain.map(|p| (p.numerator, p.denominator)), Some((n.into(), 1)));
        let written = [
            format!("{sign}{}", groups.join(",")),
            format!("{sign}{}", groups.join(" ")),
            format!("${sign}{digits}.000$"),
            format!("\\frac{{{}}}{{2}}", i128::from(n) * 2),
            format!("{sign}{digits} \\text{{ eggs}}"),
        ];
        written.iter().all(|w| Number::parse(w) == plain)
            && Number::last(&format!("it is {sign}{}.", groups.join(","))) == plain
    }

    fn fractions_are_in_lowest_terms(top: i32, bottom: i32, factor: u16) -> TestResult {
        if bottom == 0 || factor == 0 {
            return TestResult::discard();
        }
        let f = i64::from(factor);
        let a = Number::parse(&format!("\\frac{{{top}}}{{{bottom}}}")).unwrap();
        let b = Number::parse(&format!("\\dfrac{{{}}}{{{}}}", i64::from(top) * f, i64::from(bottom) * f)).unwrap();
        TestResult::from_bool(a == b && (a.value() - f64::from(top) / f64::from(bottom)).abs() <= 1e-12 * a.value().abs())
    }

    fn decimals_are_exact(n: i32, places: u8) -> bool {
        let places = usize::from(places % 12);
        let digits = format!("{:0>1$}", n.unsigned_abs(), places + 1);
        let (whole, part) = digits.split_at(digits.len() - places);
        let sign = if n < 0 { "-" } else { "" };
        let decimal = Number::parse(&format!("{sign}{whole}.{part}"));
        decimal == Number::new(n.into(), 10i128.pow(places as u32))
    }
}
