//! One reference tensor against one of ours.
use serde::Serialize;

/// How a tensor compares.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name in expected.safetensors.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// L2 norm of the reference.
    pub norm: f64,
    /// |ours - reference| / |reference| in L2; absolute where the reference is zero. None where nothing could be compared.
    pub error: Option<f64>,
    /// The element with the largest absolute error.
    pub worst: Option<Worst>,
    /// Why nothing could be compared.
    pub note: Option<String>,
    /// Whether the error is within tolerance.
    pub ok: bool,
}

/// An element.
#[derive(Clone, Debug, Serialize)]
pub struct Worst {
    /// Where, one number for each dimension.
    pub index: Vec<usize>,
    /// The reference.
    pub expected: f64,
    /// Ours.
    pub found: f64,
}

/// What may differ: a row is ok when its relative error or its largest absolute one is within bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative L2 error.
    pub relative: f64,
    /// Absolute error of any element.
    pub absolute: f64,
}

impl Row {
    /// Compares; both hold as many numbers as `shape` says, or the row fails with both counts.
    pub fn compare(name: &str, shape: &[usize], expected: &[f64], found: &[f64], tolerance: Tolerance) -> Self {
        if expected.len() != found.len() {
            let note = format!("expected {} numbers, there are {} here", expected.len(), found.len());
            return Self::missing(name, shape, note);
        }
        let norm = l2(expected.iter().copied());
        let difference = l2(expected.iter().zip(found).map(|(e, f)| f - e));
        let error = if norm > 0.0 { difference / norm } else { difference };
        // NaN must win: it compares as smaller with nothing.
        let rank = |i: &usize| {
            let d = (found[*i] - expected[*i]).abs();
            if d.is_nan() { f64::INFINITY } else { d }
        };
        let worst = (0..expected.len()).max_by(|a, b| rank(a).total_cmp(&rank(b)));
        let within = worst.is_none_or(|i| rank(&i) <= tolerance.absolute);
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            norm,
            error: Some(error),
            worst: worst.map(|i| Worst {
                index: unravel(i, shape),
                expected: expected[i],
                found: found[i],
            }),
            note: None,
            ok: error <= tolerance.relative || within,
        }
    }

    /// A row for a tensor that nothing here corresponds to: it fails.
    pub fn missing(name: &str, shape: &[usize], note: String) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            norm: 0.0,
            error: None,
            worst: None,
            note: Some(note),
            ok: false,
        }
    }
}

fn l2(xs: impl Iterator<Item = f64>) -> f64 {
    xs.map(|x| x * x).sum::<f64>().sqrt()
}

fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let at = i % n.max(1);
            i /= n.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests;
