use half::bf16;
use kernel::backend::{Decode, LinearLayer, Memory, Ops};
use kernel::mat::{Accum, Mat};
use kernel::params::Linear;

use super::{LEAST, Pieces};
use crate::Cpu;
use crate::fast::tests::{Backend, Scenario, acc, buf, check, numbers, read_acc, read_buf, weight};
use crate::fast::{Isa, Settings};

/// All three products of one layer, ragged, and more rows than a block of either kind.
struct One {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Scenario for One {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f64>> {
        let Self { rows, inputs, outputs } = *self;
        let x = buf(b, &numbers(1, rows * inputs), inputs);
        let w = weight(b, &numbers(2, outputs * inputs), inputs);
        let bias = buf(b, &numbers(3, outputs), outputs);
        let dy = buf(b, &numbers(4, rows * outputs), outputs);
        let mut y = buf(b, &numbers(5, rows * outputs), outputs);
        b.linear(&mut y, &x, &w, Some(&bias), Accum::Add);
        let mut dx = buf(b, &numbers(6, rows * inputs), inputs);
        b.linear_bwd_x(&mut dx, &dy, &w, Accum::Replace);
        let mut dw = acc(b, &numbers(7, outputs * inputs), inputs);
        let mut db = acc(b, &numbers(8, outputs), outputs);
        b.linear_bwd_w(&mut dw, Some(&mut db), &dy, &x);
        vec![read_buf(b, &y), read_buf(b, &dx), read_acc(b, &dw), read_acc(b, &db)]
    }
}

#[test]
fn a_layer_gives_what_the_oracle_gives() {
    for (rows, inputs, outputs) in [(1, 576, 192), (37, 129, 75), (700, 65, 70), (1100, 40, 33), (1, 1, 1)] {
        check(&One { rows, inputs, outputs }, 1e-5, 1e-2, 1e-2);
    }
}

/// Three layers of one input, as queries, keys and values are, or two: together.
struct Shared<const L: usize> {
    rows: usize,
    inputs: usize,
    outputs: [usize; L],
}

impl<const L: usize> Shared<L> {
    /// A layer's matrix and bias, and what its output and cotangent are at first.
    fn layer<B: Backend>(&self, b: &B, i: usize) -> (LinearLayer<B>, Mat<B::Buf>, Mat<B::Buf>) {
        let (n, k) = (self.outputs[i], self.inputs);
        let seed = 10 * (1 + i as u64);
        let layer: LinearLayer<B> = Linear {
            weight: weight(b, &numbers(seed, n * k), k),
            bias: (i != 1).then(|| buf(b, &numbers(seed + 1, n), n)),
        };
        let y = buf(b, &numbers(seed + 2, self.rows * n), n);
        (layer, y, buf(b, &numbers(seed + 3, self.rows * n), n))
    }

    fn grad<B: Backend>(&self, b: &B, i: usize) -> Linear<Mat<B::Acc>> {
        let (n, k) = (self.outputs[i], self.inputs);
        Linear {
            weight: acc(b, &numbers(4, n * k), k),
            bias: (i != 1).then(|| acc(b, &numbers(5, n), n)),
        }
    }
}

impl<const L: usize> Scenario for Shared<L> {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f64>> {
        let x = buf(b, &numbers(1, self.rows * self.inputs), self.inputs);
        let mut all: [_; L] = core::array::from_fn(|i| self.layer(b, i));
        b.linear_each(all.each_mut().map(|(layer, y, _)| (y, &*layer)), &x);
        let mut dx = buf(b, &numbers(2, self.rows * self.inputs), self.inputs);
        b.linear_each_bwd_x(&mut dx, all.each_ref().map(|(layer, _, dy)| (dy, &layer.weight)));
        let mut grads: [_; L] = core::array::from_fn(|i| self.grad(b, i));
        let mut dys = all.iter();
        b.linear_each_bwd_w(grads.each_mut().map(|g| (g, &dys.next().unwrap().2)), &x);
        let mut out = vec![read_buf(b, &dx)];
        for ((_, y, _), g) in all.iter().zip(&grads) {
            out.extend([read_buf(b, y), read_acc(b, &g.weight)]);
            out.extend(g.bias.as_ref().map(|bias| read_acc(b, bias)));
        }
        out
    }
}

#[test]
fn layers_of_one_input_give_what_the_oracle_gives() {
    for rows in [1, 2, 37, 700, 1100] {
        let (inputs, outputs) = (129, [75, 33, 64]);
        check(&Shared { rows, inputs, outputs }, 1e-5, 1e-2, 1e-2);
        let (inputs, outputs) = (64, [300, 1]);
        check(&Shared { rows, inputs, outputs }, 1e-5, 1e-2, 1e-2);
    }
}

/// Rows, gradients of matrices and of biases are those of each layer alone, whatever the threads: pieces of work begin and end within layers.
fn alone<T>(isa: Isa)
where
    T: crate::fast::elem::Elem,
    Cpu<T>: Backend<Real = f32>,
{
    let shared = Shared {
        rows: 70,
        inputs: 75,
        outputs: [100, 40, 333],
    };
    let x = numbers(1, shared.rows * shared.inputs);
    for threads in [1, 2, 3] {
        let b = Cpu::<T>::new(Settings { threads, isa });
        let x = buf(&b, &x, shared.inputs);
        let mut together = shared.run(&b).into_iter();
        let _dx = together.next();
        for i in 0..3 {
            let (layer, mut y, dy) = shared.layer(&b, i);
            b.linear(&mut y, &x, &layer.weight, layer.bias.as_ref(), Accum::Replace);
            let mut g = shared.grad(&b, i);
            b.linear_bwd_w(&mut g.weight, g.bias.as_mut(), &dy, &x);
            let single = [
                Some(read_buf(&b, &y)),
                Some(read_acc(&b, &g.weight)),
                g.bias.map(|g| read_acc(&b, &g)),
            ];
            for numbers in single.into_iter().flatten() {
                assert_eq!(
                    together.next().unwrap(),
                    numbers,
                    "{}: layer {i}, {threads} threads",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn layers_of_one_input_have_the_bits_of_each_alone() {
    for isa in Isa::available() {
        alone::<f32>(isa);
        alone::<bf16>(isa);
    }
}

#[test]
fn pieces_cut_all_panels_and_end_small() {
    for threads in [1, 2, 3, 16] {
        for isa in Isa::available() {
            let b = Cpu::<f32>::new(Settings { threads, isa });
            for (count, most, rows) in [
                (0, 4, 9),
                (1, 1, 9),
                (18, 28, 512),
                (30, 28, 1),
                (96, 28, 512),
                (4748, 4, 512),
                (5000, 1, 512),
            ] {
                let pieces = Pieces::new(count, most, rows, &b.engine);
                let mut end = 0;
                for i in 0..pieces.number {
                    let range = pieces.range(i);
                    assert_eq!(range.start, end, "piece {i} of {pieces:?}");
                    assert!((1..=most).contains(&range.len()), "piece {i} of {pieces:?}");
                    end = range.end;
                }
                assert_eq!(end, count, "{pieces:?}");
                if threads > 1 && pieces.number > 0 {
                    assert!(pieces.range(pieces.number - 1).len() <= LEAST, "{pieces:?}");
                }
            }
        }
    }
}

fn invariant<T>(isa: Isa)
where
    T: crate::fast::elem::Elem,
    Cpu<T>: Backend<Real = f32>,
{
    let (inputs, outputs) = (75, 100);
    let x = numbers(1, 40 * inputs);
    let w = numbers(2, outputs * inputs);
    let of = |threads: usize, rows: core::ops::Range<usize>| {
        let b = Cpu::<T>::new(Settings { threads, isa });
        let w = weight(&b, &w, inputs);
        let x = buf(&b, &x[rows.start * inputs..rows.end * inputs], inputs);
        let mut y = b.buf(rows.len(), outputs).unwrap();
        b.linear(&mut y, &x, &w, None, Accum::Replace);
        let mut z = b.acc(rows.len(), outputs).unwrap();
        b.logits(&mut z, &x, &w);
        (read_buf(&b, &y), read_acc(&b, &z))
    };
    let (y, z) = of(1, 0..40);
    for threads in [1, 2] {
        for rows in 1..=40 {
            for first in [0, 40 - rows] {
                let range = first..first + rows;
                let (part_y, part_z) = of(threads, range.clone());
                let place = range.start * outputs..range.end * outputs;
                assert_eq!(part_y, y[place.clone()], "{}: {range:?}, {threads} threads", isa.name());
                assert_eq!(part_z, z[place], "{}: {range:?}, {threads} threads", isa.name());
            }
        }
    }
}

#[test]
fn a_rows_bits_do_not_depend_on_the_rows_beside_it() {
    for isa in Isa::available() {
        invariant::<f32>(isa);
        invariant::<bf16>(isa);
    }
}
