use super::*;
use crate::fast::elem::{get, put};
use crate::fast::settings::{Isa, Level};

kernels! {
    fn exp_all(s, x: &mut [f32]) {
        for i in (0..x.len()).step_by(S::LANES) {
            let x = &mut x[i..];
            put(s, x, exp(s, get(s, x)));
        }
    }

    fn narrow_all(s, y: &mut [bf16], x: &[f32]) {
        for i in (0..x.len()).step_by(S::LANES) {
            put(s, &mut y[i..], get(s, &x[i..]));
        }
    }

    fn reduce(s, x: &[f32]) -> (f32, f32) {
        let v = get(s, x);
        (s.sum(v), s.largest(v))
    }
}

fn levels() -> impl Iterator<Item = Level> {
    Isa::available().into_iter().map(Level::new)
}

#[test]
fn exp_is_within_1e_7() {
    let xs: Vec<f32> = (0..2_000_000).map(|i| -87.0 + i as f32 * (175.5 / 2e6)).collect();
    for level in levels() {
        let mut ys = xs.clone();
        exp_all(level, &mut ys);
        for (&x, &y) in xs.iter().zip(&ys) {
            let want = f64::from(x).exp();
            let error = (f64::from(y) - want).abs() / want;
            assert!(
                error <= 1e-7,
                "{}: exp({x}) = {y}, error {error:.2e}",
                level.isa().name()
            );
        }
    }
}

#[test]
fn exp_at_the_ends() {
    for level in levels() {
        let mut x = [
            f32::NEG_INFINITY,
            -1e30,
            -104.0,
            -1000.0,
            0.0,
            -0.0,
            89.0,
            1e30,
            f32::INFINITY,
            f32::NAN,
        ];
        exp_all(level, &mut x);
        assert_eq!(x[..4], [0.0; 4]);
        assert_eq!(x[4..6], [1.0; 2]);
        assert_eq!(x[6..9], [f32::INFINITY; 3]);
        assert!(x[9].is_nan());
    }
}

#[test]
fn bits_do_not_depend_on_the_lane() {
    let xs: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin() * 20.0).collect();
    for level in levels() {
        let mut whole = xs.clone();
        exp_all(level, &mut whole);
        for from in 0..40 {
            for len in 1..40 {
                let mut part = xs[from..from + len].to_vec();
                exp_all(level, &mut part);
                assert_eq!(part, whole[from..from + len]);
            }
        }
    }
}

#[test]
fn narrowing_rounds_to_nearest_even() {
    // Every bf16, and what is a little, half and a little more than half a step above it.
    let xs: Vec<f32> = (0..=0xffffu32)
        .flat_map(|b| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits(b << 16 | low)))
        .collect();
    for level in levels() {
        let mut ys = vec![bf16::ZERO; xs.len()];
        narrow_all(level, &mut ys, &xs);
        for (&x, y) in xs.iter().zip(ys) {
            let want = bf16::from_f32(x);
            assert!(want == y || want.is_nan() && y.is_nan(), "{x} became {y}");
        }
    }
}

#[test]
fn reductions() {
    for level in levels() {
        let x = [3.0, -1.0, 7.5, 0.25];
        assert_eq!(reduce(level, &x), (9.75, 7.5));
    }
}

kernels! {
    fn transpose_block(s, dst: &mut [f32], to: usize, src: &[f32], from: usize) -> usize {
        assert!(dst.len() >= S::LANES * to && src.len() >= S::LANES * from);
        // SAFETY: LANES rows each.
        unsafe { s.transpose(dst.as_mut_ptr(), to, src.as_ptr(), from) };
        S::LANES
    }
}

#[test]
fn a_block_is_transposed_and_nothing_else_is_written() {
    let (to, from) = (19, 23);
    // Any bits go through, those of a signalling NaN too.
    let src: Vec<f32> = (0..16 * from as u32).map(|i| f32::from_bits(0x7f80_0001 + i)).collect();
    for level in levels() {
        let mut dst = vec![7.0f32; 16 * to];
        let lanes = transpose_block(level, &mut dst, to, &src, from);
        for i in 0..16 {
            for j in 0..to {
                let want = if i < lanes && j < lanes { src[j * from + i] } else { 7.0 };
                assert_eq!(
                    dst[i * to + j].to_bits(),
                    want.to_bits(),
                    "{} at {i}, {j}",
                    level.isa().name()
                );
            }
        }
    }
}
