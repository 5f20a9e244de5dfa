use super::*;

/// Numbers of all signs and mantissas, their exponents within 2^-9 .. 2^3.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    (0..n)
        .map(|_| {
            let (exponent, rest) = (118 + next() % 12, next());
            f32::from_bits(rest & 0x807f_ffff | exponent << 23)
        })
        .collect()
}

/// The three parts of each number, in order.
fn parts_of(x: &[f32]) -> Vec<[f32; PARTS]> {
    let mut row = vec![Unit::default(); steps(x.len())];
    // SAFETY: the machine has the instructions.
    unsafe { split_row(&mut row, x) };
    let numbers: &[bf16] = bytemuck::cast_slice(&row);
    let at = |i: usize, p: usize| numbers[i / DEPTH * (DEPTH * PARTS) + p * DEPTH + i % DEPTH].to_f32();
    let all = (0..DEPTH * row.len() / UNITS)
        .map(|i| [0, 1, 2].map(|p| at(i, p)))
        .collect::<Vec<_>>();
    assert!(
        all[x.len()..].iter().flatten().all(|x| x.to_bits() == 0),
        "zeros past the row"
    );
    all[..x.len()].to_vec()
}

#[test]
fn a_number_is_the_sum_of_its_parts() {
    if !super::super::is_available() {
        return;
    }
    let mut x = numbers(1000, 1);
    x.extend([
        0.0,
        -0.0,
        1.0,
        f32::from_bits(0x3f80_8000),
        f32::from_bits(0x3f80_7fff),
        3.3e38,
        -1e-30,
        1e-33,
    ]);
    for (x, parts) in x.iter().zip(parts_of(&x)) {
        assert_eq!(
            parts.iter().map(|&p| f64::from(p)).sum::<f64>(),
            f64::from(*x),
            "{x:e}: {parts:?}"
        );
        assert!(
            parts[1].abs() <= x.abs() / 256.0 && parts[2].abs() <= x.abs() / 65536.0,
            "{x:e}: {parts:?}"
        );
    }
    for x in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x7fff_ffff),
        f32::from_bits(0x7f80_0001),
    ] {
        assert!(!parts_of(&[x])[0].iter().sum::<f32>().is_finite(), "{x}");
    }
}

/// a (rows, k) b (k, WIDTH) in f64, and the sums of the products' magnitudes.
fn exact(a: &[f32], b: &[f32], k: usize) -> Vec<(f64, f64)> {
    let rows = a.len() / k;
    let at = |i: usize| {
        let products = (0..k).map(|j| f64::from(a[i / WIDTH * k + j]) * f64::from(b[j * WIDTH + i % WIDTH]));
        products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
    };
    (0..rows * WIDTH).map(at).collect()
}

fn left(a: &[f32], k: usize) -> Vec<Unit> {
    let mut units = vec![Unit::default(); a.len() / k * steps(k)];
    for (dst, x) in units.chunks_exact_mut(steps(k)).zip(a.chunks_exact(k)) {
        // SAFETY: the machine has the instructions.
        unsafe { split_row(dst, x) };
    }
    units
}

fn right(b: &[f32], k: usize) -> Vec<Unit> {
    let mut units = vec![Unit::default(); WIDTH * steps(k)];
    // SAFETY: the machine has the instructions.
    unsafe { split_panel(&mut units, b, WIDTH, k, 0, WIDTH) };
    units
}

fn multiply(c: &mut [f32], ldc: usize, rows: usize, a: &[Unit], b: &[Unit], k: usize, start: Start) {
    let lhs = SplitMac::packed_left(a, steps(k));
    // SAFETY: rows of steps(k) units, a panel of as many, rows of sums; the machine has tiles.
    unsafe { SplitMac::product(Amx(()), c.as_mut_ptr(), ldc, rows, lhs, b.as_ptr(), k, start) };
}

/// A chain of fused multiply-adds, in order: what f32 is without tiles.
fn chain(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let at = |i: usize| {
        (0..k).fold(0.0, |sum, j| {
            a[i / WIDTH * k + j].mul_add(b[j * WIDTH + i % WIDTH], sum)
        })
    };
    (0..a.len() / k * WIDTH).map(at).collect()
}

/// The root of the mean square of what is wrong, in parts of the products' magnitudes.
fn error(c: &[f32], want: &[(f64, f64)]) -> f64 {
    let squares = c
        .iter()
        .zip(want)
        .map(|(&c, (sum, size))| ((f64::from(c) - sum) / size).powi(2));
    (squares.sum::<f64>() / c.len() as f64).sqrt()
}

#[test]
fn it_is_more_exact_than_a_chain_of_f32() {
    if !super::super::is_available() {
        return;
    }
    // One product has what is left out of it, and no sum to gain from.
    for (k, most) in [(1, 1.25), (31, 0.85), (33, 0.85), (64, 0.7), (576, 0.6), (1536, 0.6)] {
        let (a, b) = (numbers(ROWS * k, 2), numbers(k * WIDTH, 3));
        let want = exact(&a, &b, k);
        let mut c = vec![0.0; ROWS * WIDTH];
        multiply(&mut c, WIDTH, ROWS, &left(&a, k), &right(&b, k), k, Start::Zero);
        let (ours, theirs) = (error(&c, &want), error(&chain(&a, &b, k), &want));
        assert!(ours <= most * theirs, "k = {k}: {ours:e}, a chain {theirs:e}");
        // All positive: what is left out of a product does not lean to one side.
        let (a, b) = (a.map_abs(), b.map_abs());
        let want = exact(&a, &b, k);
        multiply(&mut c, WIDTH, ROWS, &left(&a, k), &right(&b, k), k, Start::Zero);
        let bias = c
            .iter()
            .zip(&want)
            .map(|(&c, (sum, _))| f64::from(c) / sum - 1.0)
            .sum::<f64>()
            / c.len() as f64;
        let theirs = error(&chain(&a, &b, k), &want);
        assert!(
            error(&c, &want) <= most * theirs,
            "k = {k}: {:e}, a chain {theirs:e}",
            error(&c, &want)
        );
        assert!(bias.abs() < 1e-8, "k = {k}: {bias:e}");
    }
}

trait MapAbs {
    fn map_abs(self) -> Self;
}

impl MapAbs for Vec<f32> {
    fn map_abs(mut self) -> Self {
        self.iter_mut().for_each(|x| *x = x.abs());
        self
    }
}

#[test]
fn any_rows_have_the_bits_of_many_and_nothing_beside_is_written() {
    if !super::super::is_available() {
        return;
    }
    let ldc = 37;
    for k in [1, 2, 31, 32, 33, 64, 70, 576] {
        let (a, b) = (numbers(ROWS * k, 4), numbers(k * WIDTH, 5));
        let (a, b, panel) = (left(&a, k), right(&b, k), b);
        for start in [Start::Zero, Start::Output] {
            let mut all = vec![3.0; ROWS * ldc];
            multiply(&mut all, ldc, ROWS, &a, &b, k, start);
            for rows in 1..ROWS {
                let mut c = vec![3.0; ROWS * ldc];
                multiply(&mut c, ldc, rows, &a, &b, k, start);
                for (at, &c) in c.iter().enumerate() {
                    let written = at / ldc < rows && at % ldc < WIDTH;
                    assert_eq!(c, if written { all[at] } else { 3.0 }, "{rows} rows, k = {k}, at {at}");
                }
                if start == Start::Output {
                    continue;
                }
                let mut once = vec![3.0; ROWS * ldc];
                let lhs = SplitMac::packed_left(&a, steps(k));
                // SAFETY: as in `multiply`.
                unsafe { SplitMac::product_once(Amx(()), once.as_mut_ptr(), ldc, rows, lhs, &panel) };
                assert_eq!(once, c, "{rows} rows, k = {k}: a panel that is used once");
            }
        }
    }
    let mut c = [3.0; WIDTH];
    multiply(&mut c, WIDTH, 1, &[], &[], 0, Start::Output);
    assert_eq!(c, [3.0; WIDTH], "nothing added");
    multiply(&mut c, WIDTH, 1, &[], &[], 0, Start::Zero);
    assert_eq!(c, [0.0; WIDTH], "a sum of nothing");
}

/// What is packed from columns, transposed or turned has the bits of what is split row by row.
#[test]
fn every_way_to_lay_out_an_operand_gives_the_same_units() {
    if !super::super::is_available() {
        return;
    }
    for (k, columns) in [
        (1, 1),
        (2, 32),
        (31, 32),
        (32, 32),
        (33, 40),
        (64, 16),
        (65, 32),
        (100, 17),
    ] {
        let (first, stride) = (2, columns + 5);
        let src = numbers(k * stride, 6);
        let at = |i: usize, j: usize| if j < columns { src[i * stride + first + j] } else { 0.0 };
        let across: Vec<f32> = (0..k * WIDTH).map(|i| at(i / WIDTH, i % WIDTH)).collect();
        let down: Vec<f32> = (0..ROWS * k).map(|i| at(i % k, i / k)).collect();
        let mut panel = vec![[[bf16::ONE; 2]; PARTS]; WIDTH * steps(k)];
        // SAFETY: the machine has the instructions.
        unsafe { split_panel(&mut panel, &src, stride, k, first, columns) };
        assert_eq!(panel, right(&across, k), "panel, k = {k}, {columns} columns");
        let mut rows = vec![[[bf16::ONE; 2]; PARTS]; ROWS * steps(k)];
        // SAFETY: as above.
        unsafe { split_columns(&mut rows, &src, stride, k, first, columns) };
        assert_eq!(rows, left(&down, k), "rows, k = {k}, {columns} columns");

        let wide = numbers(k * 2 * WIDTH, 7);
        let rounded = left(&wide, 2 * WIDTH);
        let down: Vec<f32> = (0..ROWS * k).map(|i| wide[i % k * 2 * WIDTH + WIDTH + i / k]).collect();
        // SAFETY: as above.
        unsafe { turn(&mut rows, &rounded, steps(2 * WIDTH), k, WIDTH) };
        assert_eq!(rows, left(&down, k), "turned, k = {k}");
    }
    let block = numbers(WIDTH * WIDTH, 8);
    let across: Vec<f32> = (0..WIDTH * WIDTH)
        .map(|i| block[i % WIDTH * WIDTH + i / WIDTH])
        .collect();
    let mut panel = vec![[[bf16::ONE; 2]; PARTS]; WIDTH * UNITS];
    // SAFETY: as above.
    unsafe { split_transposed(&mut panel, &block) };
    assert_eq!(panel, right(&across, WIDTH));
}
