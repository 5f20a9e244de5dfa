use crate::devices::oracle;
use crate::host::full;

#[test]
#[should_panic(expected = "written beyond its 2 rows")]
fn a_write_behind_the_rows_is_seen() {
    let device = oracle();
    let mut x = device.output_buf(&full(2, 3, 1.0));
    x.data[2 * 3] = 0.0;
    device.read_buf("x", x);
}

#[test]
fn what_is_behind_the_rows_of_an_input_is_not_a_number() {
    let x = oracle().input_buf(&full(2, 3, 1.0));
    assert!(x.data[..6].iter().all(|&x| x == 1.0) && x.data[6..].iter().all(|x| x.is_nan()));
}
