use half::bf16;
use kernel::backend::{Decode, Memory, Ops};
use kernel::mat::{Accum, Mat, Use};

use super::{Dot, LARGEST, LARGEST_OF_X, Sums};
use crate::Cpu;
use crate::fast::elem::Elem;
use crate::fast::settings::Level;
use crate::fast::simd::kernels;
use crate::fast::tests::{Backend, acc, buf, numbers, read_acc, read_buf};
use crate::fast::{Isa, Settings};

/// All that this machine can multiply integers by, beside the instruction set.
fn dots(isa: Isa) -> Vec<Dot> {
    match Dot::of(isa) {
        Dot::Plain => vec![Dot::Plain],
        Dot::Vnni => vec![Dot::Plain, Dot::Vnni],
        Dot::Tiles => vec![Dot::Plain, Dot::Vnni, Dot::Tiles],
    }
}

kernels! {
    /// The tile's sums and its width.
    fn tile(_s, dot: Dot, rows: usize, x: &[u8], stride: usize, panel: &[i8]) -> (Vec<i32>, usize) {
        #[cfg(target_arch = "x86_64")]
        super::amx::begin();
        let mut sums = Sums([-1; super::MAX_TILE]);
        // SAFETY: the machine has it, and the operands their sizes.
        unsafe { dot.product::<S>(&mut sums, rows, x, stride, panel) };
        (sums.0[..rows * S::NR].to_vec(), S::NR)
    }
}

#[test]
fn sums_are_those_of_plain_loops_whatever_multiplies() {
    let bytes = |seed, n| numbers(seed, n).into_iter().map(|x| (x * 127.99) as i8);
    for isa in Isa::available() {
        let level = Level::new(isa);
        for dot in dots(isa) {
            for stride in [64, 192, 1536] {
                let width = level.tile().0;
                // The ends of the range, too: the largest products there are.
                let x: Vec<u8> = bytes(1, 32 * stride).map(|q| (q as u8) ^ 0x80).collect();
                let mut panel: Vec<i8> = bytes(2, width * stride).collect();
                panel[..2 * width].fill(-127);
                panel[2 * width..4 * width].fill(127);
                for rows in 1..=dot.height() {
                    let (sums, nr) = tile(level, dot, rows, &x, stride, &panel);
                    assert_eq!(nr, width);
                    for (at, &sum) in sums.iter().enumerate() {
                        let (row, o) = (at / width, at % width);
                        let product = |i: usize| {
                            let w = panel[(i / 4 * width + o) * 4 + i % 4];
                            i32::from(x[row * stride + i]) * i32::from(w)
                        };
                        let want: i32 = (0..stride).map(product).sum();
                        assert_eq!(sum, want, "{} {dot:?}: row {row} of {rows}, output {o}", isa.name());
                    }
                }
            }
        }
    }
}

/// A row's integers and its scale, in plain words.
fn integers(x: &[f32], largest: f32) -> (Vec<i64>, f32) {
    let most = x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
    let inverse = if most == 0.0 { 0.0 } else { largest / most };
    let q = x.iter().map(|x| (x * inverse).round_ties_even() as i64);
    (q.collect(), most / largest)
}

fn int8<B: Backend>(b: &B, w: &[f64], cols: usize) -> Mat<B::Weight> {
    let mut m = b.weight(w.len() / cols, cols, Use::Int8).unwrap();
    b.prepare(&mut m, &acc(b, w, cols));
    m
}

fn layer<T: Elem>(isa: Isa, threads: usize, rows: usize, inputs: usize, outputs: usize) -> Vec<Vec<f64>>
where
    Cpu<T>: Backend<Real = f32>,
{
    let b = Cpu::<T>::new(Settings { threads, isa });
    let w = int8(&b, &numbers(2, outputs * inputs), inputs);
    let x = buf(&b, &numbers(1, rows * inputs), inputs);
    let bias = buf(&b, &numbers(3, outputs), outputs);
    let mut y = buf(&b, &numbers(4, rows * outputs), outputs);
    b.linear(&mut y, &x, &w, Some(&bias), Accum::Add);
    let mut z = b.acc(rows, outputs).unwrap();
    b.logits(&mut z, &x, &w);
    vec![read_buf(&b, &y), read_acc(&b, &z)]
}

#[test]
fn products_are_the_scaled_sums_of_integers_on_every_machine_and_thread() {
    for (rows, inputs, outputs) in [(1, 576, 192), (37, 129, 75), (13, 64, 33), (1, 1, 1)] {
        let single = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<_>>();
        let (x, w) = (single(numbers(1, rows * inputs)), single(numbers(2, outputs * inputs)));
        let of_w: Vec<_> = w.chunks(inputs).map(|row| integers(row, LARGEST)).collect();
        let of_x: Vec<_> = x.chunks(inputs).map(|row| integers(row, LARGEST_OF_X)).collect();
        let products = of_x.iter().flat_map(|(x, scale)| {
            of_w.iter().map(move |(w, of_output)| {
                let sum = |of: &dyn Fn(i64) -> i64| x.iter().zip(w).map(|(&x, w)| of(x) * w).sum::<i64>();
                let (high, low) = (sum(&|x| x.div_euclid(256)), sum(&|x| x.rem_euclid(256)));
                assert_eq!(256 * high + low, sum(&|x| x));
                f64::from((256.0 * high as f32 + low as f32) * (scale * of_output))
            })
        });
        let want: Vec<f64> = products.collect();
        let mut bf16s = None;
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let got = layer::<f32>(isa, threads, rows, inputs, outputs);
                assert_eq!(got[1], want, "f32 {}, {threads} threads", isa.name());
                let got = layer::<bf16>(isa, threads, rows, inputs, outputs);
                assert_eq!(got[1], want, "bf16 {}, {threads} threads", isa.name());
                let first = bf16s.get_or_insert_with(|| got[0].clone());
                assert_eq!(got[0], *first, "bf16 {}, {threads} threads, rounded", isa.name());
            }
        }
    }
}

#[test]
fn a_rows_bits_do_not_depend_on_the_rows_beside_it() {
    let (inputs, outputs) = (75, 100);
    for isa in Isa::available() {
        let b = Cpu::<bf16>::new(Settings { threads: 2, isa });
        let (w, x) = (int8(&b, &numbers(2, outputs * inputs), inputs), numbers(1, 40 * inputs));
        let of = |rows: core::ops::Range<usize>| {
            let x = buf(&b, &x[rows.start * inputs..rows.end * inputs], inputs);
            let mut y = b.buf(rows.len(), outputs).unwrap();
            b.linear(&mut y, &x, &w, None, Accum::Replace);
            read_buf(&b, &y)
        };
        let all = of(0..40);
        for rows in 1..40 {
            for first in [0, 40 - rows] {
                let part = of(first..first + rows);
                assert_eq!(
                    part,
                    all[first * outputs..(first + rows) * outputs],
                    "{}: {rows} from {first}",
                    isa.name()
                );
            }
        }
    }
}

/// |y - x w'| <= sum_i (|x_i| d_w + |w_oi| d_x + d_x d_w), d half a step of either operand, and f32's own rounding.
#[test]
fn the_error_is_within_half_a_step_of_either_operand() {
    let (rows, inputs, outputs) = (5, 300, 40);
    let (x, w) = (numbers(1, rows * inputs), numbers(2, outputs * inputs));
    let b = Cpu::<f32>::new(Settings {
        threads: 1,
        isa: Isa::Portable,
    });
    let (q, m) = (int8(&b, &w, inputs), buf(&b, &x, inputs));
    let mut y = b.buf(rows, outputs).unwrap();
    b.linear(&mut y, &m, &q, None, Accum::Replace);
    let half_step = |row: &[f64], most: f64| row.iter().fold(0.0, |m: f64, x| m.max(x.abs())) / most / 2.0;
    let mut worst: f64 = 0.0;
    for (at, got) in read_buf(&b, &y).into_iter().enumerate() {
        let (x, w) = (
            &x[at / outputs * inputs..][..inputs],
            &w[at % outputs * inputs..][..inputs],
        );
        let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
        let (dx, dw) = (half_step(x, 32767.0), half_step(w, 127.0));
        let bound: f64 = x
            .iter()
            .zip(w)
            .map(|(x, w)| x.abs() * dw + w.abs() * dx + dx * dw)
            .sum();
        assert!(
            (got - exact).abs() <= 1.001 * bound,
            "{at}: {got} for {exact}, within {bound}"
        );
        worst = worst.max((got - exact).abs() / bound);
    }
    // Errors of either sign even out: far below the bound, and not nothing.
    assert!((1e-3..0.5).contains(&worst), "{worst}");
}

#[test]
fn what_is_not_a_number_stays_so_and_nothing_is_nothing() {
    for isa in Isa::available() {
        let b = Cpu::<f32>::new(Settings { threads: 1, isa });
        let w = int8(&b, &numbers(2, 20 * 33), 33);
        for (bad, at) in [
            (f64::NAN, 3),
            (f64::INFINITY, 3),
            (f64::NEG_INFINITY, 32),
            (f64::NAN, 32),
        ] {
            let mut x = numbers(1, 2 * 33);
            x[at] = bad;
            let mut y = b.buf(2, 20).unwrap();
            b.linear(&mut y, &buf(&b, &x, 33), &w, None, Accum::Replace);
            let y = read_buf(&b, &y);
            assert!(
                y[..20].iter().all(|y| y.is_nan()),
                "{}: {bad} at {at}: {y:?}",
                isa.name()
            );
            assert!(y[20..].iter().all(|y| y.is_finite()), "{}: {bad} at {at}", isa.name());
        }
        for tiny in [0.0, 1e-40] {
            let mut y = b.buf(1, 20).unwrap();
            b.linear(&mut y, &buf(&b, &[tiny; 33], 33), &w, None, Accum::Replace);
            assert!(read_buf(&b, &y).iter().all(|&y| y == 0.0), "{}: {tiny}", isa.name());
        }
    }
}

#[test]
#[should_panic(expected = "an int8 weight has neither rows to read nor a backward pass")]
fn there_is_no_backward_pass() {
    let b = Cpu::<f32>::new(Settings {
        threads: 1,
        isa: Isa::Portable,
    });
    let w = int8(&b, &numbers(2, 20 * 33), 33);
    let mut dx = b.buf(1, 33).unwrap();
    b.linear_bwd_x(&mut dx, &buf(&b, &numbers(1, 20), 20), &w, Accum::Replace);
}
