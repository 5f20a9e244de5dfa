//! The list of cases: forward operations; those of the backward and of the tangent follow from them.
mod attention;
mod linear;
mod memory;
mod rows;
mod vector;

pub use attention::{heads, segments};

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use kernel::mat::Accum;

use crate::backward::{Backward, backward, cotangents};
use crate::case::Case;
use crate::device::{Backend, Device, Precision};
use crate::devices::oracle;
use crate::host::{Host, Rng};
use crate::run::run;
use crate::tangent::{directions, tangents};

/// How large the shapes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// A few numbers each: every one can be differentiated numerically.
    Small,
    /// Below, at and beyond the tiles of a fast backend, and ragged.
    Full,
}

/// Every operation but those of the backward and of the tangent.
pub fn forward(sizes: Sizes) -> Vec<Case> {
    [
        memory::cases(sizes),
        rows::cases(sizes),
        linear::cases(sizes),
        attention::cases(sizes),
        vector::cases(sizes),
    ]
    .concat()
}

/// The backward operations of a forward case for this device, replacing and adding: inputs rounded to what it can
/// represent, saved statistics from the oracle.
pub fn backward_of<B: Backend>(device: &Device<B>, forward: &Case) -> Vec<Backward> {
    let forward = device.round_case(forward);
    let outputs = run(&oracle(), &forward);
    let d = cotangents(&forward, &mut Rng::new(&forward.label));
    let mut all: Vec<Backward> = [Accum::Replace, Accum::Add]
        .into_iter()
        .flat_map(|accum| backward(&forward, &outputs, &d, accum))
        .collect();
    for b in &mut all {
        b.case = device.round_case(&b.case);
    }
    all
}

/// The tangent's operations of a forward case for this device, as [`backward_of`].
pub fn tangents_of<B: Backend>(device: &Device<B>, forward: &Case) -> Vec<Case> {
    let forward = device.round_case(forward);
    let outputs = run(&oracle(), &forward);
    let v = directions(&forward, &mut Rng::new(&forward.label));
    let cases = tangents(&forward, &outputs, &v);
    cases.iter().map(|case| device.round_case(case)).collect()
}

/// A case as a precision can represent it, and what the oracle makes of it.
pub struct Checked {
    /// The case.
    pub case: Case,
    /// The oracle's outputs.
    pub expected: Vec<Host>,
}

type Lists = Mutex<HashMap<(Precision, Sizes), Arc<Vec<Checked>>>>;

/// Every case for this device, forward, backward and tangent, its numbers as the device's precision can represent them: made
/// once for each precision.
pub fn all<B: Backend>(device: &Device<B>, sizes: Sizes) -> Arc<Vec<Checked>> {
    static LISTS: LazyLock<Lists> = LazyLock::new(Lists::default);
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    let list = lists
        .entry((device.precision, sizes))
        .or_insert_with(|| Arc::new(list(device, sizes)));
    Arc::clone(list)
}

fn list<B: Backend>(device: &Device<B>, sizes: Sizes) -> Vec<Checked> {
    let mut cases = Vec::new();
    for case in forward(sizes) {
        cases.extend(backward_of(device, &case).into_iter().map(|b| b.case));
        cases.extend(tangents_of(device, &case));
        cases.push(device.round_case(&case));
    }
    let check = |case| Checked {
        expected: run(&oracle(), &case),
        case,
    };
    cases.into_iter().map(check).collect()
}
