use half::bf16;
use kernel::backend::{Decode, Memory, Ops};
use kernel::mat::Accum;

use crate::Cpu;
use crate::fast::tests::{Backend, Scenario, acc, buf, check, numbers, read_acc, read_buf, weight};
use crate::fast::{Isa, Settings};

/// All three products of one layer, ragged, and more rows than a block.
struct Layer {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Scenario for Layer {
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
    for (rows, inputs, outputs) in [(1, 576, 192), (37, 129, 75), (700, 65, 70), (1, 1, 1)] {
        check(&Layer { rows, inputs, outputs }, 1e-5, 1e-2, 1e-2);
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
