use half::bf16;
use kernel::backend::{AdamW, Memory, Ops, Vector};
use kernel::mat::Mat;
use kernel::optim::Kept;
use kernel::params::Part;
use kernel::rounding::{BLOCK, Dither, to_bf16};

use super::{Bits, PIECE};
use crate::fast::tests::{acc, buf, numbers, read_buf, weight};
use crate::fast::{Isa, Settings};
use crate::{Buffer, Cpu};

type Bf16 = Cpu<bf16>;

const DITHER: Dither = Dither {
    seed: 0x1234_5678_9abc,
    tensor: 7,
};

fn step(learning_rate: f64, step: u64) -> AdamW {
    AdamW {
        learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        step,
        grad_scale: 0.5,
    }
}

#[test]
fn bits_are_those_of_the_counter() {
    let bits = Bits {
        dither: DITHER,
        step: (1 << 33) + 5,
    };
    for what in Kept::ALL {
        for first in [0, 1, 1000, 50_000_000] {
            let found = bits.piece(what, first);
            let expected: Vec<u16> = (first * BLOCK..first * BLOCK + PIECE)
                .map(|i| DITHER.bits(bits.step, what, i))
                .collect();
            assert_eq!(found.as_slice(), expected);
        }
    }
}

/// One number's step by the formula in plain f32.
fn plain([p, m, v]: [f32; 3], grad: f32, k: &AdamW, i: usize) -> [f32; 3] {
    let g = k.grad_scale as f32 * grad;
    let m = k.beta1 as f32 * m + (1.0 - k.beta1) as f32 * g;
    let v = k.beta2 as f32 * v + (1.0 - k.beta2) as f32 * (g * g);
    let correction = |beta: f64| 1.0 - beta.powf(k.step as f64);
    let rate = (-k.learning_rate / correction(k.beta1)) as f32;
    let root = (1.0 / correction(k.beta2).sqrt()) as f32;
    let keep = (1.0 - k.learning_rate * k.weight_decay) as f32;
    let p = rate * (m / (v.sqrt() * root + k.eps as f32)) + keep * p;
    let mut kept = Kept::ALL.into_iter();
    [p, m, v].map(|x| bf16::from_bits(to_bf16(x, DITHER.bits(k.step, kept.next().unwrap(), i))).to_f32())
}

/// What three steps make of p, m and v, kept as a prepared matrix or as a vector's numbers.
fn run(b: &Bf16, (rows, cols): (usize, usize), matrix: bool) -> [Vec<f64>; 3] {
    let n = rows * cols;
    let mut m = buf(b, &numbers(2, n), cols);
    let mut v = buf(b, &numbers(3, n).iter().map(|x| x * x).collect::<Vec<_>>(), cols);
    let grad = acc(b, &numbers(4, n), cols);
    let mut w = weight(b, &numbers(1, n), cols);
    let mut x = buf(b, &numbers(1, n), cols);
    for t in 1..=3 {
        let p = match matrix {
            true => Part::Matrix(&mut w),
            false => Part::Vector(&mut x),
        };
        b.adamw_narrow(p, &mut m, &mut v, &grad, &step(1e-2, t), DITHER);
    }
    if matrix {
        let ids: Vec<u32> = (0..rows as u32).collect();
        b.embed(&mut x, &w, &b.index(&ids).unwrap());
    }
    [&x, &m, &v].map(|x| read_buf(b, x))
}

/// On every instruction set, with one to three threads, in panels and in rows: bit for bit the formula.
#[test]
fn every_machine_gives_the_bits_of_the_formula() {
    for shape in [(1, 1), (1, 300), (37, 33), (70, 64), (5, 129), (3, 40_001)] {
        let n = shape.0 * shape.1;
        let [p, m, g] = [1, 2, 4].map(|seed| numbers(seed, n));
        let v: Vec<f64> = numbers(3, n).iter().map(|x| bf16::from_f64(x * x).to_f64()).collect();
        let mut expected = [const { Vec::new() }; 3];
        for i in 0..n {
            let mut x = [&p, &m, &v].map(|x| x[i] as f32);
            for t in 1..=3 {
                x = plain(x, g[i] as f32, &step(1e-2, t), i);
            }
            for (all, x) in expected.iter_mut().zip(x) {
                all.push(f64::from(x));
            }
        }
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                for matrix in [true, false] {
                    let found = run(&Bf16::new(Settings { threads, isa }), shape, matrix);
                    for (what, (found, expected)) in Kept::ALL.iter().zip(found.iter().zip(&expected)) {
                        let off = (0..n).find(|&i| found[i].to_bits() != expected[i].to_bits());
                        assert_eq!(
                            off,
                            None,
                            "{shape:?}, {}, {threads} threads, {matrix}: {what:?}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}

/// Steps far below half the distance of two numbers: to nearest, nothing would ever move; here the mean moves as f32 does,
/// within four standard deviations, and so does the second moment, whose decay nearest would lose too.
#[test]
fn small_steps_add_up_on_average() {
    let b = Bf16::new(Settings {
        threads: 1,
        isa: Isa::Portable,
    });
    let (n, steps, rate) = (20_000, 50, 2e-4);
    let k = |t| AdamW {
        weight_decay: 0.0,
        grad_scale: 1.0,
        ..step(rate, t)
    };
    let ones = |x: f64| buf(&b, &vec![x; n], n);
    let (mut p, mut m, mut v) = (ones(1.0), ones(0.5), ones(1.0));
    // The same in f32, and in bf16 to nearest.
    let wide = |x: f64| acc(&b, &vec![x; n], n);
    let (mut p32, mut m32, mut v32) = (wide(1.0), wide(0.5), wide(1.0));
    let grad = wide(0.5);
    let nearest = |x: &mut Mat<Buffer<f32>>| {
        let mut narrow = b.buf(1, n).unwrap();
        b.narrow(&mut narrow, x);
        b.widen(x, &narrow);
    };
    let (mut pn, mut mn, mut vn) = (wide(1.0), wide(0.5), wide(1.0));
    for t in 1..=steps {
        b.adamw_narrow(Part::Vector(&mut p), &mut m, &mut v, &grad, &k(t), DITHER);
        b.adamw(&mut p32, &mut m32, &mut v32, &grad, &k(t));
        b.adamw(&mut pn, &mut mn, &mut vn, &grad, &k(t));
        [&mut pn, &mut mn, &mut vn].into_iter().for_each(nearest);
    }
    assert!(
        pn.data.iter().all(|&x| x == 1.0) && vn.data.iter().all(|&x| x == 1.0),
        "to nearest it moves"
    );
    for (what, found, expected) in [("p", &p, p32.data[0]), ("v", &v, v32.data[0])] {
        let found = read_buf(&b, found);
        let mean = found.iter().sum::<f64>() / n as f64;
        let variance = found.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
        let allowed = 4.0 * (variance / n as f64).sqrt();
        let off = mean - f64::from(expected);
        assert!(off.abs() < allowed, "{what}: off by {off:e}, allowed {allowed:e}");
        // The test can tell: what moved is many times what is allowed.
        assert!((1.0 - f64::from(expected)).abs() > 10.0 * allowed, "{what}");
    }
}
