//! What the operations' cases do not have: padded rows, pieces of matrices, split factors. Without a driver they say so and pass.
use half::bf16;
use kernel::backend::Memory;
use kernel::mat::{Accum, Mat};

use super::{Form, Product, TENSOR, View, parts, product, product_split, sm90};
use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

fn device<T: Element>() -> Option<Cuda<T>> {
    match Cuda::new(0) {
        Ok(b) => Some(b),
        Err(Error::NoDriver) if std::env::var_os("PROXIMAL_CUDA_REQUIRED").is_none() => {
            println!("skipped: there is no CUDA driver");
            None
        }
        Err(e) => panic!("device cuda: {e}"),
    }
}

/// Numbers between -1 and 1 that bf16 has exactly.
fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 24) as f32 - 128.0) / 128.0
    };
    (0..n).map(next).collect()
}

/// A matrix of `stride` columns, NaN beyond column `cols`.
fn padded(values: &[f32], cols: usize, stride: usize) -> Vec<f32> {
    let row = |x: &[f32]| [x, &vec![f32::NAN; stride - cols]].concat();
    values.chunks(cols).flat_map(row).collect()
}

fn acc<T: Element>(b: &Cuda<T>, values: &[f32], cols: usize) -> Mat<Buffer<f32>> {
    let mut x = b.acc(values.len() / cols, cols).expect("memory");
    b.upload(&mut x, values).expect("a copy");
    x
}

fn buf<T: Element>(b: &Cuda<T>, values: &[f32], cols: usize) -> Mat<Buffer<T>> {
    let mut x = b.buf(values.len() / cols, cols).expect("memory");
    b.narrow(&mut x, &acc(b, values, cols));
    x
}

fn read<T: Element>(b: &Cuda<T>, x: &Mat<Buffer<f32>>) -> Vec<f32> {
    let mut values = vec![0.0; x.len()];
    b.download(&mut values, x).expect("a copy");
    values
}

/// Of its first columns only.
fn narrower<N>(x: &Mat<Buffer<N>>, cols: usize) -> View<'_, N> {
    View { cols, ..View::of(x) }
}

/// op(a) op(b) in f64.
fn expected(a: &[f32], b: &[f32], form: Form, (m, n, k): (usize, usize, usize)) -> Vec<f64> {
    let left = |i: usize, p: usize| if form == Form::Tn { a[p * m + i] } else { a[i * k + p] };
    let right = |p: usize, j: usize| if form == Form::Nt { b[j * k + p] } else { b[p * n + j] };
    let at = |i: usize, j: usize| {
        (0..k)
            .map(|p| f64::from(left(i, p)) * f64::from(right(p, j)))
            .sum::<f64>()
    };
    (0..m * n).map(|c| at(c / n, c % n)).collect()
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&x, y)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(x) - y).abs() <= tolerance, "number {i}: {x}, expected {y}");
    }
}

/// (rows, cols) of both factors as they lie in memory.
fn shapes(form: Form, (m, n, k): (usize, usize, usize)) -> [(usize, usize); 2] {
    let left = if form == Form::Tn { (k, m) } else { (m, k) };
    let right = if form == Form::Nt { (n, k) } else { (k, n) };
    [left, right]
}

/// Every form with rows longer than the matrices are wide: what lies there is neither read nor written.
fn padding<T: Element>(seed: u32) {
    let Some(b) = device::<T>() else { return };
    for form in [Form::Nt, Form::Nn, Form::Tn] {
        for (size, pad) in [((130, 70, 37), 8), ((70, 131, 530), 8), ((5, 9, 24), 8), ((6, 5, 7), 1)] {
            let [left, right] = shapes(form, size);
            let (x, y) = (numbers(seed, left.0 * left.1), numbers(seed + 1, right.0 * right.1));
            let stride = |cols: usize| cols.next_multiple_of(pad) + pad;
            let a = buf(&b, &padded(&x, left.1, stride(left.1)), stride(left.1));
            let w = buf(&b, &padded(&y, right.1, stride(right.1)), stride(right.1));
            let (m, n, _) = size;
            let c = acc(&b, &vec![7.0; m * stride(n)], stride(n));
            let (a, w) = (narrower(&a, left.1), narrower(&w, right.1));
            product(&b, narrower(&c, n), a, w, form, None, Accum::Add);
            let found = read(&b, &c);
            let rows = found.chunks(stride(n));
            assert!(
                rows.clone().all(|row| row[n..].iter().all(|&x| x == 7.0)),
                "{form:?} {size:?}"
            );
            let inside: Vec<f32> = rows.flat_map(|row| row[..n].iter().map(|x| x - 7.0)).collect();
            close(&inside, &expected(&x, &y, form, size), 2e-5);
        }
    }
}

#[test]
fn padding_is_left_alone_f32() {
    padding::<f32>(1);
}

#[test]
fn padding_is_left_alone_bf16() {
    padding::<bf16>(2);
}

/// Every number of rows around those that the kernels for few rows are made for.
fn few_rows<T: Element>(seed: u32) {
    let Some(b) = device::<T>() else { return };
    for m in [1, 2, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65] {
        for (n, k) in [(1, 8), (33, 40), (20, 1096)] {
            let (x, y, z) = (numbers(seed, m * k), numbers(seed + 1, n * k), numbers(seed + 2, n));
            let (a, w, bias) = (buf(&b, &x, k), buf(&b, &y, k), buf(&b, &z, n));
            let c = acc(&b, &vec![3.0; m * n], n);
            let (c_all, a, w) = (View::of(&c), View::of(&a), View::of(&w));
            product(&b, c_all, a, w, Form::Nt, Some(&bias), Accum::Add);
            let mut sums = expected(&x, &y, Form::Nt, (m, n, k));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += 3.0 + f64::from(z[i % n]);
            }
            close(&read(&b, &c), &sums, 2e-5);
        }
    }
}

#[test]
fn few_rows_are_products_f32() {
    few_rows::<f32>(8);
}

#[test]
fn few_rows_are_products_bf16() {
    few_rows::<bf16>(11);
}

#[test]
fn rows_in_pieces_are_the_same_bits() {
    let Some(b) = device::<bf16>() else { return };
    let (m, n, k) = (300, 72, 136);
    let (x, y) = (numbers(3, m * k), numbers(4, n * k));
    let (a, w) = (buf(&b, &x, k), buf(&b, &y, k));
    let (whole, pieces) = (acc(&b, &vec![0.0; m * n], n), acc(&b, &vec![0.0; m * n], n));
    let (a, w) = (View::of(&a), View::of(&w));
    product(&b, View::of(&whole), a, w, Form::Nt, None, Accum::Replace);
    for rows in [0..100, 100..228, 228..300] {
        let c = View::of(&pieces).rows(rows.clone());
        product(&b, c, a.rows(rows), w, Form::Nt, None, Accum::Replace);
    }
    assert_eq!(read(&b, &whole), read(&b, &pieces));
}

#[test]
fn a_factor_in_two_parts_keeps_its_precision() {
    let Some(b) = device::<bf16>() else { return };
    for (form, size) in [
        (Form::Nn, (20, 40, 70)),
        (Form::Tn, (150, 24, 33)),
        (Form::Nt, (9, 8, 400)),
        // Rows that begin at multiples of 16 bytes.
        (Form::Nn, (140, 264, 72)),
        (Form::Tn, (152, 24, 136)),
        (Form::Nt, (66, 72, 200)),
    ] {
        let [left, right] = shapes(form, size);
        // Numbers of 16 bits: 8 in each part.
        let high = numbers(5, left.0 * left.1);
        let low: Vec<f32> = numbers(6, high.len()).iter().map(|x| x / 512.0).collect();
        let both: Vec<f32> = high.iter().zip(&low).map(|(x, y)| x + y).collect();
        let y = numbers(7, right.0 * right.1);
        let (high, low, w) = (buf(&b, &high, left.1), buf(&b, &low, left.1), buf(&b, &y, right.1));
        let c = acc(&b, &vec![0.0; size.0 * size.1], size.1);
        let parts = (View::of(&high), View::of(&low));
        product_split(&b, View::of(&c), parts, View::of(&w), form, Accum::Replace);
        close(&read(&b, &c), &expected(&both, &y, form, size), 2e-5);
    }
}

#[test]
fn wgmma_where_the_device_and_the_rows_allow() {
    let Some(b) = device::<bf16>() else { return };
    let (x, y) = (buf(&b, &numbers(9, 64 * 72), 72), buf(&b, &numbers(10, 40 * 72), 72));
    let chosen = |cols: usize, from: u64| {
        let left = View {
            address: View::of(&x).address + from,
            ..narrower(&x, cols)
        };
        let (low, right, form) = (None, narrower(&y, cols), Form::Nt);
        let product = Product { left, low, right, form };
        sm90::kernel(&b, &product, (64, 40, cols)).map(|kernel| kernel.name)
    };
    let there = (b.capability() == (9, 0)).then_some("gemm_nt_sm90_128");
    assert_eq!([72, 71, 1].map(|cols| chosen(cols, 0)), [there; 3]);
    assert_eq!(chosen(64, 16), there);
    // No size is 0, and rows begin at multiples of 16 bytes.
    assert_eq!([chosen(0, 0), chosen(64, 2)], [None; 2]);
}

#[test]
fn tiles_are_wide_where_there_are_many() {
    assert_eq!(sm90::tile((1024, 1024, 1024)), 128);
    assert_eq!(sm90::tile((2048, 4864, 896)), 256);
    assert_eq!(sm90::tile((8192, 896, 4864)), 256);
    assert_eq!(sm90::tile((128, 896, 8192)), 128);
}

/// The kernels of both tiles, whichever a product of this size would take: more steps than stages, tiles that hang over c, k cut in parts.
#[test]
fn every_tile_is_a_product() {
    let Some(b) = device::<bf16>() else { return };
    if b.capability() != (9, 0) {
        println!("skipped: these kernels are for compute capability 9.0");
        return;
    }
    for form in [Form::Nt, Form::Nn, Form::Tn] {
        for (m, n, k) in [(136, 72, 48), (72, 392, 392), (24, 16, 2304)] {
            let [left, right] = shapes(form, (m, n, k));
            let (x, y, z) = (numbers(12, m * k), numbers(13, n * k), numbers(14, n));
            let (a, w, bias) = (buf(&b, &x, left.1), buf(&b, &y, right.1), buf(&b, &z, n));
            let mut sums = expected(&x, &y, form, (m, n, k));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += 3.0 + f64::from(z[i % n]);
            }
            let (left, low, right) = (View::of(&a), None, View::of(&w));
            let product = Product { left, low, right, form };
            for cols in [256, 128] {
                let c = acc(&b, &vec![3.0; m * n], n);
                let kernel = sm90::of_tile(form, cols);
                product.run_by(&b, View::of(&c), &kernel, k, Some(&bias), Accum::Add);
                close(&read(&b, &c), &sums, 1e-4);
            }
        }
    }
}

#[test]
fn a_sum_of_nothing_is_zero() {
    let Some(b) = device::<bf16>() else { return };
    let (x, y) = (buf(&b, &numbers(9, 70 * 8), 8), buf(&b, &numbers(10, 9 * 8), 8));
    let c = acc(&b, &[7.0; 70 * 9], 9);
    let (a, w) = (narrower(&x, 0), narrower(&y, 0));
    product(&b, View::of(&c), a, w, Form::Nt, None, Accum::Replace);
    assert_eq!(read(&b, &c), [0.0; 70 * 9]);
}

#[test]
fn k_is_cut_where_that_pays() {
    let of = |size: (usize, usize, usize)| parts(size, size.0.div_ceil(128) * size.1.div_ceil(128), TENSOR).0;
    // Many tiles, or little to sum.
    assert_eq!(of((8192, 4864, 896)), 1);
    assert_eq!(of((1024, 1024, 1024)), 1);
    assert_eq!(of((128, 128, 128)), 1);
    assert_eq!(of((0, 128, 4096)), 1);
    assert_eq!(of((128, 128, 0)), 1);
    // The gradient of a narrow weight: 7 tiles, a long sum.
    assert!((8..=16).contains(&of((128, 896, 8192))));
    // A sum over a vocabulary: 56 tiles leave half of the device idle.
    assert!(of((1024, 896, 151_936)) > 8);
}
