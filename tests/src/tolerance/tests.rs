use super::*;
use crate::case::Call;
use crate::devices::oracle;
use crate::host::{full, matrix};

#[test]
fn a_number_that_is_not_one_is_infinitely_wrong() {
    let want = matrix(1, 3, [1.0, 2.0, 3.0]);
    assert_eq!(worst(&want, &want).0, 0.0);
    assert_eq!(worst(&matrix(1, 3, [1.0, f64::NAN, 3.0]), &want).0, f64::INFINITY);
}

#[test]
fn an_error_is_measured_against_its_matrix() {
    let want = matrix(1, 2, [0.0, 2.0]);
    let (error, place) = worst(&matrix(1, 2, [0.1, 2.0]), &want);
    assert_eq!(error, 0.1 / 2f64.sqrt());
    assert!(place.starts_with("at (0, 0)"), "{place}");
}

#[test]
fn an_error_beyond_the_table_is_a_line_that_names_it() {
    let case = Case::new(Call::Swiglu, "one").writes("y", Kind::Buf, (1, 1));
    let mut device = oracle();
    device.precision = Precision::F32;
    let off = |by: f64| check(&device, &case, &[full(1, 1, 1.0 + by)], &[full(1, 1, 1.0)]);
    assert!(off(2e-6).is_empty());
    assert!(off(2e-5)[0].starts_with("swiglu [one]: y at (0, 0)"));
}

#[test]
fn every_exception_is_wider_than_its_row() {
    for e in EXCEPTIONS {
        let row = TABLE.iter().find(|t| t.precision == e.precision).expect("a row");
        assert!(e.tolerance > row.acc.min(row.buf), "{} {}", e.method, e.output);
    }
}
