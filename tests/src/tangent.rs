//! From a forward case to the cases of its tangent's operations.
use crate::case::{Call, Case, Kind};
use crate::host::{Host, Rng, add};

/// Random tangents for the inputs of a forward case.
pub fn directions(forward: &Case, rng: &mut Rng) -> Vec<Host> {
    let tangent = |x: &crate::case::Input| rng.matrix(x.value.rows, x.value.cols);
    forward.inputs.iter().map(tangent).collect()
}

/// The tangent's operations of `forward` along v, given what it computed. None for operations without one: those that
/// are linear are their own.
pub fn tangents(forward: &Case, outputs: &[Host], v: &[Host]) -> Vec<Case> {
    let x = |i: usize| forward.inputs[i].value.clone();
    let v = |i: usize| v[i].clone();
    let case = |call| Case::new(call, forward.label.clone());
    match &forward.call {
        Call::Rmsnorm { .. } => vec![
            case(Call::RmsnormJvp)
                .reads("x", Kind::Buf, x(0))
                .reads("x_dot", Kind::Buf, v(0))
                .reads_whole("w", Kind::Buf, x(1))
                .reads_whole("w_dot", Kind::Buf, v(1))
                .reads("rstd", Kind::Acc, outputs[1].clone())
                .writes("y_dot", Kind::Buf, outputs[0].shape()),
        ],
        Call::Attention { segments, heads } => {
            let call = Call::AttentionJvp {
                segments: segments.clone(),
                heads: *heads,
            };
            vec![
                case(call)
                    .reads("q_dot", Kind::Buf, v(0))
                    .reads("k_dot", Kind::Buf, v(1))
                    .reads("v_dot", Kind::Buf, v(2))
                    .reads("o", Kind::Buf, outputs[0].clone())
                    .reads("lse", Kind::Acc, outputs[1].clone())
                    .reads("q", Kind::Buf, x(0))
                    .reads("k", Kind::Buf, x(1))
                    .reads("v", Kind::Buf, x(2))
                    .writes("o_dot", Kind::Buf, outputs[0].shape()),
            ]
        }
        Call::Swiglu => vec![
            case(Call::SwigluJvp)
                .reads("gate", Kind::Buf, x(0))
                .reads("gate_dot", Kind::Buf, v(0))
                .reads("up", Kind::Buf, x(1))
                .reads("up_dot", Kind::Buf, v(1))
                .writes("y_dot", Kind::Buf, outputs[0].shape()),
        ],
        &Call::Head { temperature } => {
            let mut rng = Rng::new(&forward.name());
            let (p, (vocab, c)) = (x(0).rows, x(1).shape());
            // As the logits themselves, their tangents are a few units each.
            let mut w_dot = v(1);
            w_dot.data.iter_mut().for_each(|w| *w *= 2.0 / (c as f64).sqrt());
            let fisher = case(Call::HeadFisher { temperature })
                .reads("weight", Kind::Acc, rng.matrix(p, 1))
                .reads("lse", Kind::Acc, outputs[2].clone())
                .reads("h", Kind::Buf, x(0))
                .reads("h_dot", Kind::Buf, v(0))
                .reads_whole("w", Kind::Weight, x(1))
                .reads_whole("w_dot", Kind::Weight, w_dot.clone())
                .writes("dh", Kind::Buf, (p, c))
                .updates_whole("dw", Kind::Acc, rng.matrix(vocab, c));
            // Policies as far from each other as two of them can be, and as near as before and after one step.
            let kl = |step: f64| {
                let mut kl = case(Call::HeadKl { temperature })
                    .reads("old h", Kind::Buf, x(0))
                    .reads("new h", Kind::Buf, add(&x(0), step, &v(0)))
                    .reads_whole("old w", Kind::Weight, x(1))
                    .reads_whole("new w", Kind::Weight, add(&x(1), step, &w_dot))
                    .writes("kl", Kind::Acc, (p, 1));
                kl.label += &format!(", step {step}");
                kl
            };
            vec![fisher, kl(1.0), kl(0.01)]
        }
        _ => Vec::new(),
    }
}
