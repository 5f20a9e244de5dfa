//! Operations that see one row at a time and are not matrix products.
use kernel::mat::Direction;

use super::Sizes;
use crate::case::{Call, Case, Extent, Kind};
use crate::host::{Host, Rng, full};

/// Cases of embed, gather, rmsnorm, rope, swiglu.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    let shapes: &[(usize, usize)] = match sizes {
        Sizes::Small => &[(1, 1), (4, 6)],
        Sizes::Full => &[
            (1, 1),
            (2, 8),
            (5, 17),
            (7, 31),
            (33, 64),
            (52, 576),
            (70, 130),
            (3, 1030),
            (2, 8232),
            (1100, 24),
        ],
    };
    let rotary: &[(usize, usize, usize)] = match sizes {
        Sizes::Small => &[(3, 2, 4), (2, 1, 6)],
        Sizes::Full => &[
            (1, 1, 2),
            (7, 3, 10),
            (5, 1, 8),
            (33, 2, 24),
            (6, 9, 64),
            (65, 2, 80),
            (4, 14, 128),
        ],
    };
    let elementwise = shapes.iter().flat_map(|&(n, c)| of(n, c));
    let rope = rotary
        .iter()
        .flat_map(|&(n, heads, d)| [Direction::Forward, Direction::Inverse].map(|t| rope(n, heads, d, t)));
    elementwise.chain(rope).chain([extreme()]).collect()
}

fn of(n: usize, c: usize) -> Vec<Case> {
    let label = format!("{n}x{c}");
    let case = |call| Case::new(call, label.clone());
    let mut rng = Rng::new(&label);
    // Fewer rows in the table than are asked for: some row is named more than once.
    let table = n / 2 + 1;
    let mut rows = || rng.index(n, table);
    let (ids, picked) = (rows(), rows());
    vec![
        case(Call::Embed)
            .index(ids)
            .reads_whole("table", Kind::Weight, rng.matrix(table, c))
            .writes("y", Kind::Buf, (n, c)),
        case(Call::Gather)
            .index(picked)
            .reads_whole("x", Kind::Buf, rng.matrix(table, c))
            .writes("y", Kind::Buf, (n, c)),
        case(Call::Rmsnorm { eps: 0.01 })
            .reads("x", Kind::Buf, rng.matrix(n, c))
            .reads_whole("w", Kind::Buf, rng.matrix(1, c))
            .writes("y", Kind::Buf, (n, c))
            .saves("rstd", Kind::Acc, (n, 1)),
        case(Call::Swiglu)
            .reads("gate", Kind::Buf, rng.matrix(n, c))
            .reads("up", Kind::Buf, rng.matrix(n, c))
            .writes("y", Kind::Buf, (n, c)),
        case(Call::SwigluFwdBwd)
            .reads("dy", Kind::Buf, rng.matrix(n, c))
            .reads("gate", Kind::Buf, rng.matrix(n, c))
            .reads("up", Kind::Buf, rng.matrix(n, c))
            .writes("y", Kind::Buf, (n, c))
            .writes("d_gate", Kind::Buf, (n, c))
            .writes("d_up", Kind::Buf, (n, c)),
    ]
}

/// Cosines, then sines, of random angles: not those of any model, so that no relation between them is relied on.
fn table(positions: usize, d: usize, rng: &mut Rng) -> Host {
    let mut table = full(positions, d, 0.0);
    for row in table.data.chunks_exact_mut(d) {
        let (cos, sin) = row.split_at_mut(d / 2);
        for (cos, sin) in cos.iter_mut().zip(sin) {
            let angle = std::f64::consts::TAU * rng.uniform();
            (*cos, *sin) = (angle.cos(), angle.sin());
        }
    }
    table
}

fn rope(n: usize, heads: usize, d: usize, direction: Direction) -> Case {
    let call = Call::Rope { head_dim: d, direction };
    let label = format!("N {n}, {heads} heads of {d}, {direction:?}");
    let mut rng = Rng::new(&label);
    let positions = n + 3;
    Case::new(call, label)
        .index(rng.index(n, positions))
        .reads("x", Kind::Buf, rng.matrix(n, heads * d))
        .reads_constant("table", Kind::Acc, Extent::Whole, table(positions, d, &mut rng))
        .writes("x", Kind::Buf, (n, heads * d))
}

/// Gates where e^-a or e^a overflows f32.
fn extreme() -> Case {
    let mut gate = full(1, 12, 0.0);
    gate.data = [
        0.0, 20.0, -20.0, 88.0, -88.0, 100.0, -100.0, 1000.0, -1000.0, 1e-3, -1e-3, 5.0,
    ]
    .to_vec();
    Case::new(Call::Swiglu, "extreme gates")
        .reads("gate", Kind::Buf, gate)
        .reads("up", Kind::Buf, full(1, 12, 1.0))
        .writes("y", Kind::Buf, (1, 12))
}
