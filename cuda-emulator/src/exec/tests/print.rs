use crate::exec::print::{Source, Value, format};

/// Arguments as they lie in the argument block, all of 8 bytes.
fn show(text: &str, arguments: &[u64]) -> String {
    let mut read = |source: Source| match source {
        Source::Argument(offset, bytes) => {
            let v = *arguments.get(offset as usize / 8)?;
            Some(Value::Number(if bytes == 4 {
                v >> (8 * (offset % 8)) & 0xffff_ffff
            } else {
                v
            }))
        }
        Source::Text(_) => Some(Value::Text(b"text".to_vec())),
    };
    String::from_utf8(format(text.as_bytes(), &mut read).0).unwrap()
}

#[test]
fn as_c_prints() {
    // From the C standard's text on fprintf.
    let x = |v: f64| v.to_bits();
    assert_eq!(show("%d|%i", &[5 | (u64::from(7u32.wrapping_neg()) << 32)]), "5|-7");
    assert_eq!(
        show("%5d|%-5d|%05d|%+d", &[42 | 42 << 32, 42 | 42 << 32]),
        "   42|42   |00042|+42"
    );
    assert_eq!(
        show("%u %x %X %#x %o", &[0xffff_ffff | 0xab << 32, 0xab | 0xab << 32, 8]),
        "4294967295 ab AB 0xab 10"
    );
    assert_eq!(show("%lld %llx", &[u64::MAX, u64::MAX]), "-1 ffffffffffffffff");
    assert_eq!(
        show("%f %.2f %8.3f", &[x(1.5), x(-2.345), x(12.3456)]),
        "1.500000 -2.35   12.346"
    );
    assert_eq!(show("%e %.1E", &[x(12345.678), x(0.00012)]), "1.234568e+04 1.2E-04");
    assert_eq!(
        show("%g %g %g", &[x(0.0001), x(1e10), x(100000.0)]),
        "0.0001 1e+10 100000"
    );
    assert_eq!(show("%f %F", &[x(f64::INFINITY), x(f64::NAN)]), "inf NAN");
    assert_eq!(show("%a", &[x(1.5)]), "0x1.8p+0");
    assert_eq!(show("%s|%6s|%-6s|%.2s", &[0, 0, 0, 0]), "text|  text|text  |te");
    assert_eq!(show("%c%c%%", &[u64::from(b'a') | u64::from(b'b') << 32]), "ab%");
    assert_eq!(show("%p", &[0x1234]), "0x1234");
    assert_eq!(show("%*d", &[4 | 7 << 32]), "   7");
    assert_eq!(
        show("%hd %hu %hhd %hhx", &[0x1_8000 | 0x1_8000 << 32, 0x1ff | 0x1ff << 32]),
        "-32768 32768 -1 ff"
    );
}

#[test]
fn what_cannot_be_read_ends_the_text() {
    assert_eq!(show("a%d%d%d", &[1]), "a10");
}

#[test]
fn widths_and_precisions_have_an_end() {
    for text in ["%2147483647d", "%99999999999d", "%.2147483647d", "%.99999999f"] {
        let len = show(text, &[0]).len();
        assert!((4096..=4098).contains(&len), "{text}: {len}");
    }
}
