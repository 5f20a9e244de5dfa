//! The optimizer's elementwise work.
use kernel::backend::AdamW;
use kernel::rounding::Dither;

use super::Sizes;
use crate::case::{Call, Case, Kind};
use crate::host::{Host, Rng};

/// Cases of `Vector`.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    let shapes: &[(usize, usize)] = match sizes {
        Sizes::Small => &[(1, 1), (3, 5)],
        Sizes::Full => &[(1, 1), (3, 5), (1, 300), (65, 33), (130, 640)],
    };
    shapes.iter().flat_map(|&(rows, cols)| of(rows, cols)).collect()
}

fn of(rows: usize, cols: usize) -> Vec<Case> {
    let label = format!("{rows}x{cols}");
    let case = |call| Case::new(call, label.clone());
    let mut rng = Rng::new(&label);
    let mut x = || rng.matrix(rows, cols);
    let square = |x: Host| Host {
        data: x.data.iter().map(|x| x * x).collect(),
        ..x
    };
    let near = |x: &Host, y: &Host| crate::host::add(x, 0.5, y);
    let (a, b) = (x(), x());
    let mut cases = vec![
        // Positively correlated, so that the sum does not cancel.
        case(Call::Dot)
            .reads_whole("x", Kind::Acc, a.clone())
            .reads_whole("y", Kind::Acc, near(&a, &b))
            .updates_whole("dot", Kind::Acc, crate::host::full(1, 1, f64::NAN)),
        case(Call::Axpy { alpha: -0.3 })
            .updates("y", Kind::Acc, x())
            .reads("x", Kind::Acc, x()),
        case(Call::Scale { alpha: 1.7 }).updates("x", Kind::Acc, x()),
    ];
    for step in [1, 2, 1000] {
        let constants = AdamW {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-4,
            weight_decay: 0.1,
            step,
            grad_scale: 0.5,
        };
        let adamw = Case::new(Call::Adamw { step: constants }, format!("{label}, step {step}"))
            .reads("grad", Kind::Acc, x())
            .updates("p", Kind::Acc, x())
            .updates("m", Kind::Acc, x())
            .updates("v", Kind::Acc, square(x()));
        cases.push(adamw);
        let p = x();
        let dither = Dither { seed: step, tensor: 3 };
        // Whole: a number's random bits go by its place in the matrix.
        let call = Call::AdamwNarrow {
            step: constants,
            dither,
        };
        let narrow = Case::new(call, format!("{label}, step {step}"))
            .reads_whole("grad", Kind::Acc, x())
            .updates_whole("p", Kind::Buf, p.clone())
            .updates_whole("m", Kind::Buf, x())
            .updates_whole("v", Kind::Buf, square(x()))
            .updates_whole("matrix", Kind::Buf, p);
        cases.push(narrow);
    }
    cases
}
