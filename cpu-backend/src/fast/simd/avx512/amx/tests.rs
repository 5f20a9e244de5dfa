use super::*;

/// Small numbers, in which every sum is exact.
fn numbers(n: usize, seed: usize) -> Vec<bf16> {
    (0..n)
        .map(|i| bf16::from_f32(((i * 7 + seed * 3 + i / 5) % 11) as f32 - 5.0))
        .collect()
}

/// A panel of NR columns from b (k, 32).
fn panel(b: &[bf16], k: usize) -> Vec<[bf16; 2]> {
    let at = |i: usize, j: usize| if i < k { b[i * 32 + j] } else { bf16::ZERO };
    (0..k.div_ceil(2) * 32)
        .map(|u| [at(u / 32 * 2, u % 32), at(u / 32 * 2 + 1, u % 32)])
        .collect()
}

#[test]
fn any_rows_and_any_k_and_nothing_beside_is_written() {
    if !is_available() {
        return;
    }
    let ldc = 37;
    for rows in 1..=ROWS {
        for k in (0..70).chain([127, 128, 129, 576]) {
            let (a, b) = (numbers(rows * k, 1), numbers(k * 32, 2));
            let panel = panel(&b, k);
            let lhs = Lhs::rows::<bf16, [bf16; 2]>(&a, k);
            let dot =
                |r: usize, j: usize| -> f32 { (0..k).map(|i| a[r * k + i].to_f32() * b[i * 32 + j].to_f32()).sum() };
            for start in [Start::Zero, Start::Output] {
                let mut c = vec![3.0f32; rows * ldc];
                // SAFETY: rows of k numbers, a panel of k, rows of 37 sums; the machine has tiles.
                unsafe { product(c.as_mut_ptr(), ldc, rows, lhs, panel.as_ptr(), k, start, &[]) };
                for (at, &c) in c.iter().enumerate() {
                    let before = if start == Start::Zero && at % ldc < 32 {
                        0.0
                    } else {
                        3.0
                    };
                    let want = before + if at % ldc < 32 { dot(at / ldc, at % ldc) } else { 0.0 };
                    assert_eq!(c, want, "{rows} rows, k = {k}, at {at}");
                }
            }
        }
    }
}

/// Numbers of any size, some so small that their products are below 2^-126, some zeros.
fn wild(n: usize, seed: u32) -> Vec<bf16> {
    let mut state = seed;
    let number = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let exponent = match state >> 29 {
            0 => 0,
            1 => 62 + (state >> 20 & 7),
            _ => 118 + (state >> 20 & 15),
        };
        bf16::from_bits(((state >> 8 & 0x807f) | exponent << 7) as u16)
    };
    (0..n).map(number).collect()
}

/// A row's bits do not depend on the rows beside it: few are multiplied without tiles.
#[test]
fn few_rows_have_the_bits_of_many() {
    if !is_available() {
        return;
    }
    for k in [1, 2, 31, 32, 33, 64, 70, 129, 576] {
        for seed in 0..20 {
            let rows = 17;
            let (a, b) = (wild(rows * k, seed), wild(k * 32, seed + 100));
            let (panel, lhs) = (panel(&b, k), Lhs::rows::<bf16, [bf16; 2]>(&a, k));
            for start in [Start::Zero, Start::Output] {
                let before: Vec<f32> = wild(rows * 32, seed + 7).iter().map(|x| x.to_f32()).collect();
                let product = |rows: usize| {
                    let mut c = before.clone();
                    // SAFETY: rows of k numbers, a panel of k, rows of 32 sums; the machine has tiles.
                    unsafe { product(c.as_mut_ptr(), 32, rows, lhs, panel.as_ptr(), k, start, &[]) };
                    c[..32].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                };
                let many = product(rows);
                assert_eq!(product(3), many, "3 rows, k = {k}");
                assert_eq!(product(2), many, "2 rows, k = {k}");
                assert_eq!(product(1), many, "1 row, k = {k}");
            }
        }
    }
}

#[test]
fn a_transposed_operand_is_packed_by_rows() {
    if !is_available() {
        return;
    }
    for (k, columns) in [
        (1, 1),
        (2, 32),
        (31, 32),
        (32, 32),
        (64, 32),
        (65, 32),
        (100, 17),
        (33, 40),
    ] {
        let stride = columns + 5;
        let src = numbers(k * stride, 3);
        let units = k.div_ceil(2);
        let mut dst = vec![[bf16::ONE; 2]; ROWS * units];
        // SAFETY: the machine has the instructions.
        unsafe { pack_rows(&mut dst, &src, stride, k, 2, columns) };
        for (at, unit) in dst.iter().enumerate() {
            for (half, &x) in unit.iter().enumerate() {
                let (r, i) = (at / units, at % units * 2 + half);
                let want = if r < columns.min(ROWS) && i < k {
                    src[i * stride + 2 + r]
                } else {
                    bf16::ZERO
                };
                assert_eq!(x, want, "k = {k}, row {r}, number {i}");
            }
        }
    }
}
