//! Storage, transfers, precision changes.
use super::Sizes;
use crate::case::{Call, Case, Extent, Kind};
use crate::host::Rng;

/// Cases of `Memory`.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    let shapes: &[(usize, usize)] = match sizes {
        Sizes::Small => &[(1, 1), (3, 5)],
        Sizes::Full => &[(1, 1), (3, 5), (1, 300), (65, 33), (130, 64)],
    };
    shapes.iter().flat_map(|&shape| of(shape)).collect()
}

fn of(shape: (usize, usize)) -> Vec<Case> {
    let (rows, cols) = shape;
    let label = format!("{rows}x{cols}");
    let case = |call| Case::new(call, label.clone());
    let mut rng = Rng::new(&label);
    let mut x = || rng.matrix(rows, cols);
    vec![
        case(Call::Buf).writes("buf", Kind::Buf, shape),
        case(Call::Acc).writes("acc", Kind::Acc, shape),
        // The weight is read back through `embed`, at compute precision.
        case(Call::Prepare)
            .reads_constant("src", Kind::Acc, Extent::Whole, x())
            .writes("dst", Kind::Buf, shape),
        case(Call::Upload)
            .reads("src", Kind::Acc, x())
            .writes("dst", Kind::Acc, shape),
        case(Call::Narrow)
            .reads("src", Kind::Acc, x())
            .writes("dst", Kind::Buf, shape),
        case(Call::Widen)
            .reads("src", Kind::Buf, x())
            .writes("dst", Kind::Acc, shape),
        case(Call::Copy)
            .reads("src", Kind::Buf, x())
            .writes("dst", Kind::Buf, shape),
        case(Call::Zero).writes("x", Kind::Acc, shape),
        case(Call::ZeroBuf).writes("x", Kind::Buf, shape),
    ]
}
