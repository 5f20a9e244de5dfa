//! One line an instruction: opcode, kinds of the operands (destination first), the sources, `=`, the result.
//!
//! Kinds: `h` 16 bits, `r` 32 bits, `d` 64 bits, `f` f32, `D` f64, `p` predicate, `i` an immediate.
//! Numbers: decimal or 0x; of kinds f and D decimal ones are floats.

use super::harness::run;

const TABLES: [&str; 3] = [
    include_str!("integer.txt"),
    include_str!("float.txt"),
    include_str!("convert.txt"),
];

fn number(text: &str, kind: char) -> u64 {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).unwrap();
    }
    match kind {
        'f' => u64::from(text.parse::<f32>().unwrap().to_bits()),
        'D' => text.parse::<f64>().unwrap().to_bits(),
        'h' => text.parse::<i64>().unwrap() as u64 & 0xffff,
        'r' => text.parse::<i64>().unwrap() as u64 & 0xffff_ffff,
        _ => text.parse::<i64>().unwrap() as u64,
    }
}

/// From the 64-bit register of an input to a register of a kind.
fn fetch(kind: char, k: usize) -> String {
    match kind {
        'h' => format!("cvt.u16.u64 %h{k}, %in{k};\n"),
        'r' => format!("cvt.u32.u64 %r{k}, %in{k};\n"),
        'f' => format!("cvt.u32.u64 %r15, %in{k};\nmov.b32 %f{k}, %r15;\n"),
        'd' => format!("mov.b64 %rd{k}, %in{k};\n"),
        'D' => format!("mov.b64 %fd{k}, %in{k};\n"),
        'p' => format!("setp.ne.u64 %p{k}, %in{k}, 0;\n"),
        _ => String::new(),
    }
}

fn name(kind: char, k: usize) -> String {
    let bank = match kind {
        'h' => "h",
        'r' => "r",
        'f' => "f",
        'd' => "rd",
        'D' => "fd",
        _ => "p",
    };
    format!("%{bank}{k}")
}

/// To the 64-bit register of an output.
fn put(kind: char, k: usize) -> String {
    match kind {
        'h' => format!("cvt.u64.u16 %out0, %h{k};\n"),
        'r' => format!("cvt.u64.u32 %out0, %r{k};\n"),
        'f' => format!("mov.b32 %r15, %f{k};\ncvt.u64.u32 %out0, %r15;\n"),
        'd' => format!("mov.b64 %out0, %rd{k};\n"),
        'D' => format!("mov.b64 %out0, %fd{k};\n"),
        _ => format!("selp.u64 %out0, 1, 0, %p{k};\n"),
    }
}

/// Executed by the even lanes; the odd ones must keep what their register held.
fn line(text: &str) {
    let (left, want) = text.split_once('=').unwrap_or_else(|| panic!("{text}"));
    let mut words = left.split_whitespace();
    let (opcode, kinds) = (words.next().unwrap(), words.next().unwrap());
    let kinds: Vec<char> = kinds.chars().collect();
    let sources: Vec<&str> = words.collect();
    assert_eq!(sources.len(), kinds.len() - 1, "{text}");
    let mut body = String::new();
    let mut inputs = Vec::new();
    let mut operands = vec![name(kinds[0], 9)];
    for (k, (source, &kind)) in sources.iter().zip(&kinds[1..]).enumerate() {
        // An immediate takes the place of an input, so that the numbers stay.
        inputs.push([if kind == 'i' { 0 } else { number(source, kind) }; 32]);
        body += &fetch(kind, k);
        operands.push(if kind == 'i' { source.to_string() } else { name(kind, k) });
    }
    let before = if kinds[0] == 'p' { 0 } else { 0x5a5a };
    let k = inputs.len();
    inputs.push([before; 32]);
    body += &format!("mov.b64 %rd14, %in{k};\n");
    body += &fetch(kinds[0], 9).replace("%in9", &format!("%in{k}"));
    body += "and.b32 %r14, %lane, 1;\nsetp.eq.u32 %p14, %r14, 0;\n";
    body += &format!("@%p14 {opcode} {};\n", operands.join(", "));
    body += &put(kinds[0], 9);
    let want = number(want.trim(), kinds[0]);
    let got = &run(opcode, &body, &inputs, 1)[0];
    for (lane, &got) in got.iter().enumerate() {
        let want = if lane % 2 == 0 { want } else { before };
        assert_eq!(got, want, "{text}: lane {lane}: got {got:#x}, want {want:#x}");
    }
}

#[test]
fn every_line() {
    for table in TABLES {
        for text in table.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            line(text);
        }
    }
}
