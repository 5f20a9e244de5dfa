use super::*;

/// The known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
#[test]
fn known_answers() {
    assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(
        philox(u64::MAX, [u32::MAX; 4]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    assert_eq!(
        philox(
            0x299f_31d0_a409_3822,
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
        ),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn moments_of_the_uniform_and_the_normal() {
    let n = 20_000u32;
    let (mut u, mut z, mut z2) = (0.0, 0.0, 0.0);
    for i in 0..n {
        let words = philox(7, [i, 0, 0, 0]);
        let x = uniform(words);
        assert!((0.0..1.0).contains(&x));
        u += x;
        let x = normal(words);
        z += x;
        z2 += x * x;
    }
    let n = n as f64;
    assert!((u / n - 0.5).abs() < 0.01);
    assert!((z / n).abs() < 0.03 && (z2 / n - 1.0).abs() < 0.03);
}
