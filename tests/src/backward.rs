//! From a forward case to the cases of its backward operations.
use kernel::mat::{Accum, Direction};

use crate::case::{Call, Case, Extent, Kind, Role};
use crate::host::{Host, Rng, add, full};

/// A backward operation of a forward case.
pub struct Backward {
    /// The operation; its outputs are gradients.
    pub case: Case,
    /// For each of its outputs, the input of the forward case that it is the gradient of.
    pub of: Vec<usize>,
}

impl Backward {
    /// The gradients that a run of the case gave: what was added where it adds, what is there where it replaces.
    pub fn gradients<'a>(&'a self, results: &'a [Host]) -> impl Iterator<Item = (usize, Host)> + 'a {
        self.of
            .iter()
            .zip(&self.case.outputs)
            .zip(results)
            .map(|((&of, y), after)| {
                let replaced = y.initial.data.iter().all(|x| x.is_nan());
                (
                    of,
                    if replaced {
                        after.clone()
                    } else {
                        add(after, -1.0, &y.initial)
                    },
                )
            })
    }
}

/// Random cotangents for the outputs of a forward case; zero for those that no loss depends on.
pub fn cotangents(forward: &Case, rng: &mut Rng) -> Vec<Host> {
    let cotangent = |y: &crate::case::Output| match y.role {
        Role::Variable => rng.matrix(y.initial.rows, y.initial.cols),
        Role::Constant => full(y.initial.rows, y.initial.cols, 0.0),
    };
    forward.outputs.iter().map(cotangent).collect()
}

/// The backward operations of `forward`, given what it computed and the cotangents of that. Operations that can do
/// either replace or add as `accum` says. None for operations without a backward.
pub fn backward(forward: &Case, outputs: &[Host], d: &[Host], accum: Accum) -> Vec<Backward> {
    let x = |i: usize| forward.inputs[i].value.clone();
    let shape = |i: usize| forward.inputs[i].value.shape();
    let mut rng = Rng::new(&forward.name());
    let mut before = |i: usize| rng.matrix(shape(i).0, shape(i).1);
    let case = |call| Case::new(call, format!("{}, {accum:?}", forward.label)).index(forward.index.clone());
    // dx (+)= ...
    let into = |case: Case, name, i: usize, before: &mut dyn FnMut(usize) -> Host| match accum {
        Accum::Replace => case.writes(name, Kind::Buf, shape(i)),
        Accum::Add => case.updates(name, Kind::Buf, before(i)),
    };
    match &forward.call {
        Call::Embed => {
            let case = case(Call::EmbedBwd).reads("dy", Kind::Buf, d[0].clone());
            one(case.updates_whole("d_table", Kind::Acc, before(0)), [0])
        }
        Call::Gather => {
            let case = case(Call::ScatterAdd).reads("dy", Kind::Buf, d[0].clone());
            one(case.updates_whole("dx", Kind::Buf, before(0)), [0])
        }
        Call::Rmsnorm { .. } => {
            let case = case(Call::RmsnormBwd { accum })
                .reads("dy", Kind::Buf, d[0].clone())
                .reads("x", Kind::Buf, x(0))
                .reads_whole("w", Kind::Buf, x(1))
                .reads("rstd", Kind::Acc, outputs[1].clone());
            let case = into(case, "dx", 0, &mut before);
            one(case.updates_whole("dw", Kind::Acc, before(1)), [0, 1])
        }
        Call::Linear { .. } => {
            let dx = case(Call::LinearBwdX { accum })
                .reads("dy", Kind::Buf, d[0].clone())
                .reads_whole("w", Kind::Weight, x(1));
            let dx = into(dx, "dx", 0, &mut before);
            let mut dw = case(Call::LinearBwdW)
                .reads("dy", Kind::Buf, d[0].clone())
                .reads("x", Kind::Buf, x(0))
                .updates_whole("dw", Kind::Acc, before(1));
            let mut of = vec![1];
            if forward.inputs.len() > 2 {
                dw = dw.updates_whole("db", Kind::Acc, before(2));
                of.push(2);
            }
            vec![Backward { case: dx, of: vec![0] }, Backward { case: dw, of }]
        }
        Call::Rope { head_dim, direction } => {
            let direction = match direction {
                Direction::Forward => Direction::Inverse,
                Direction::Inverse => Direction::Forward,
            };
            let case = case(Call::Rope {
                head_dim: *head_dim,
                direction,
            });
            let case = case.reads("dy", Kind::Buf, d[0].clone());
            let case = case.reads_constant("table", Kind::Acc, Extent::Whole, x(1));
            one(case.writes("x", Kind::Buf, shape(0)), [0])
        }
        Call::Attention { segments, heads } => {
            let call = Call::AttentionBwd {
                segments: segments.clone(),
                heads: *heads,
            };
            let case = case(call)
                .reads("d_o", Kind::Buf, d[0].clone())
                .reads("o", Kind::Buf, outputs[0].clone())
                .reads("lse", Kind::Acc, outputs[1].clone())
                .reads("q", Kind::Buf, x(0))
                .reads("k", Kind::Buf, x(1))
                .reads("v", Kind::Buf, x(2))
                .writes("dq", Kind::Buf, shape(0))
                .writes("dk", Kind::Buf, shape(1))
                .writes("dv", Kind::Buf, shape(2));
            one(case, [0, 1, 2])
        }
        Call::Swiglu => {
            let case = case(Call::SwigluBwd)
                .reads("dy", Kind::Buf, d[0].clone())
                .reads("gate", Kind::Buf, x(0))
                .reads("up", Kind::Buf, x(1))
                .writes("d_gate", Kind::Buf, shape(0))
                .writes("d_up", Kind::Buf, shape(1));
            one(case, [0, 1])
        }
        Call::Head { temperature } => {
            let call = Call::HeadBwd {
                temperature: *temperature,
            };
            let case = case(call)
                .reads("dlogp", Kind::Acc, d[0].clone())
                .reads("dentropy", Kind::Acc, d[1].clone())
                .reads("lse", Kind::Acc, outputs[2].clone())
                .reads("entropy", Kind::Acc, outputs[1].clone())
                .reads("h", Kind::Buf, x(0))
                .reads_whole("w", Kind::Weight, x(1))
                .writes("dh", Kind::Buf, shape(0))
                .updates_whole("dw", Kind::Acc, before(1));
            one(case, [0, 1])
        }
        _ => Vec::new(),
    }
}

fn one<const N: usize>(case: Case, of: [usize; N]) -> Vec<Backward> {
    vec![Backward { case, of: of.to_vec() }]
}
