//! Answers worked out by hand, on every backend: what a forward and a backward that are wrong together cannot show.
//! All numbers are exact in bf16 unless a tolerance is named.
use kernel::backend::AdamW;
use kernel::mat::{Accum, Direction};
use tests::case::{Call, Case, Extent, Kind};
use tests::cases::{heads, segments};
use tests::device::{Backend, Device, Precision};
use tests::devices::{Visit, each};
use tests::host::{Host, Rng, full, matrix, pick_rows};
use tests::run::run;

/// Runs a case on every backend and compares its outputs to the table's tolerance.
struct Known(Case, Vec<Vec<f64>>);

impl Visit for Known {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let Self(case, want) = self;
        for ((got, want), y) in run(device, case).iter().zip(want).zip(&case.outputs) {
            let tolerance = tests::tolerance::tolerance(device, case, y);
            for (got, want) in got.data.iter().zip(want.iter()) {
                let error = (got - want).abs() / want.abs().max(1.0);
                assert!(
                    error <= tolerance,
                    "{}: {}: {} {got}, expected {want}",
                    device.name,
                    case.name(),
                    y.name
                );
            }
        }
    }
}

fn known<const N: usize>(case: Case, want: [&[f64]; N]) {
    assert_eq!(case.outputs.len(), N);
    for (y, want) in case.outputs.iter().zip(want) {
        assert_eq!(y.initial.len(), want.len());
    }
    each(&mut Known(case, want.iter().map(|w| w.to_vec()).collect()));
}

fn attention(name: &str, parts: &[(usize, Option<usize>)], h: (usize, usize, usize), qkv: [Host; 3]) -> Case {
    let call = Call::Attention {
        segments: segments(parts),
        heads: heads(h.0, h.1, h.2),
    };
    let n = qkv[0].rows;
    let shape = qkv[0].shape();
    let named = ["q", "k", "v"].into_iter().zip(qkv);
    let case = named.fold(Case::new(call, name), |case, (name, x)| case.reads(name, Kind::Buf, x));
    case.writes("o", Kind::Buf, shape).saves("lse", Kind::Acc, (n, h.0))
}

/// Position 1 of the table is a quarter turn of the first pair and none of the second.
#[test]
fn rope_turns_the_first_half_towards_the_second_and_back() {
    let turn = |direction, want: &[f64]| {
        let case = Case::new(Call::Rope { head_dim: 4, direction }, "quarter turn")
            .index(vec![1, 0])
            .reads("x", Kind::Buf, matrix(2, 4, [1.0, 3.0, 2.0, 4.0, 1.0, 3.0, 2.0, 4.0]))
            .reads_constant(
                "table",
                Kind::Acc,
                Extent::Whole,
                matrix(2, 4, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]),
            )
            .writes("x", Kind::Buf, (2, 4));
        known(case, [want]);
    };
    turn(Direction::Forward, &[-2.0, 3.0, 1.0, 4.0, 1.0, 3.0, 2.0, 4.0]);
    turn(Direction::Inverse, &[2.0, 3.0, -1.0, 4.0, 1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn query_heads_are_grouped_in_order() {
    let v = matrix(1, 4, [1.0, 2.0, 3.0, 4.0]);
    let case = attention(
        "one row",
        &[(1, None)],
        (4, 2, 2),
        [full(1, 8, 0.0), full(1, 4, 0.0), v],
    );
    known(case, [&[1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0], &[0.0; 4]]);
}

/// With q = 0 every visible key weighs the same: o is the mean of the visible v, lse the log of their number.
#[test]
fn a_row_sees_its_ancestors_and_its_own_past() {
    let parts = [(2, None), (2, Some(0)), (1, Some(0)), (1, Some(1))];
    let v = matrix(6, 2, [4.0, 0.0, 8.0, 0.0, 12.0, 0.0, 16.0, 0.0, 48.0, 0.0, 60.0, 0.0]);
    let k = matrix(6, 2, [1.0; 12]);
    let case = attention("means", &parts, (1, 1, 2), [full(6, 2, 0.0), k, v]);
    let lse = [1.0f64, 2.0, 3.0, 4.0, 3.0, 5.0].map(f64::ln);
    known(
        case,
        [&[4.0, 0.0, 6.0, 0.0, 8.0, 0.0, 10.0, 0.0, 20.0, 0.0, 20.0, 0.0], &lse],
    );
}

/// q . k = 4, scaled by 1 / sqrt(4) = 2, against a score of 0: weights e^2 and 1.
#[test]
fn scores_are_scaled_by_the_root_of_the_head() {
    let q = matrix(2, 4, [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    let k = matrix(2, 4, [0.0, 5.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    let v = matrix(2, 4, [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let p = 2f64.exp() / (1.0 + 2f64.exp());
    let case = attention("scale", &[(2, None)], (1, 1, 4), [q, k, v]);
    let o = [0.0, 1.0, 1.0, 1.0, p, 1.0 - p, 1.0 - p, 1.0 - p];
    known(case, [&o, &[0.0, (1.0 + 2f64.exp()).ln()]]);
}

/// mean (3^2 + 4^2) = 12.5, and eps 3.5 makes it 16.
#[test]
fn rmsnorm_adds_eps_to_the_mean_of_squares() {
    let case = Case::new(Call::Rmsnorm { eps: 3.5 }, "3 4")
        .reads("x", Kind::Buf, matrix(1, 2, [3.0, 4.0]))
        .reads_whole("w", Kind::Buf, matrix(1, 2, [2.0, -1.0]))
        .writes("y", Kind::Buf, (1, 2))
        .saves("rstd", Kind::Acc, (1, 1));
    known(case, [&[1.5, -1.0], &[0.25]]);
}

#[test]
fn linear_multiplies_by_the_transpose_and_adds_the_bias_once() {
    let case = |accum| {
        Case::new(Call::Linear { accum }, "2 to 3")
            .reads("x", Kind::Buf, matrix(1, 2, [1.0, 2.0]))
            .reads_whole("w", Kind::Weight, matrix(3, 2, [1.0, 0.0, 0.0, 1.0, 3.0, -1.0]))
            .reads_whole("bias", Kind::Buf, matrix(1, 3, [10.0, 20.0, 30.0]))
    };
    let replace = case(Accum::Replace).writes("y", Kind::Buf, (1, 3));
    known(replace, [&[11.0, 22.0, 31.0]]);
    let add = case(Accum::Add).updates("y", Kind::Buf, matrix(1, 3, [100.0, 100.0, -31.0]));
    known(add, [&[111.0, 122.0, 0.0]]);
}

#[test]
fn swiglu_gates_the_first_argument() {
    let case = Case::new(Call::Swiglu, "gates")
        .reads("gate", Kind::Buf, matrix(1, 4, [0.0, 1.0, -1.0, 64.0]))
        .reads("up", Kind::Buf, matrix(1, 4, [3.0, 2.0, 2.0, 0.5]))
        .writes("y", Kind::Buf, (1, 4));
    let s = 1.0 / (1.0 + (-1f64).exp());
    known(case, [&[0.0, 2.0 * s, -2.0 * (1.0 - s), 32.0]]);
}

/// z = (0, 4) / 2: p = (1, e^2) / (1 + e^2).
#[test]
fn the_head_divides_by_the_temperature() {
    let case = Case::new(Call::Head { temperature: 2.0 }, "two tokens")
        .index(vec![0, 1])
        .reads("h", Kind::Buf, full(2, 1, 1.0))
        .reads_whole("w", Kind::Weight, matrix(2, 1, [0.0, 4.0]))
        .writes("logp", Kind::Acc, (2, 1))
        .writes("entropy", Kind::Acc, (2, 1))
        .saves("lse", Kind::Acc, (2, 1))
        .saves("best", Kind::Acc, (2, 1));
    let lse = (1.0 + 2f64.exp()).ln();
    let entropy = lse - 2.0 * 2f64.exp() / (1.0 + 2f64.exp());
    known(case, [&[-lse, 2.0 - lse], &[entropy; 2], &[lse; 2], &[2.0 - lse; 2]]);
}

/// Two tokens with probabilities p and 1 - p whose logits trade places: KL = (2p - 1) times their distance. Near each other
/// it is a square of the distance; far from each other, where e^KL overflows f32, still a number.
#[test]
fn the_divergence_of_two_tokens_that_trade_places() {
    let of = |distance: f64, want: f64| {
        // Distances are halved by the temperature.
        let (far, near) = (2.0 * distance, 0.0);
        let case = Case::new(Call::HeadKl { temperature: 2.0 }, format!("{distance} apart"))
            .reads("old h", Kind::Buf, full(1, 1, 1.0))
            .reads("new h", Kind::Buf, full(1, 1, 1.0))
            .reads_whole("old w", Kind::Weight, matrix(2, 1, [near, far]))
            .reads_whole("new w", Kind::Weight, matrix(2, 1, [far, near]))
            .writes("kl", Kind::Acc, (1, 1));
        known(case, [&[want]]);
    };
    of(0.0, 0.0);
    for distance in [2f64.powi(-12), 0.25, 2.0, 16.0, 64.0, 100.0, 300.0, 4096.0] {
        of(distance, distance * (distance / 2.0).tanh());
    }
    of(-100.0, 100.0);
}

/// Two tokens of probabilities p and 1 - p, z_dot = (0, 1) / temperature: u = weight p (1 - p) (-1, 1) / temperature^2.
#[test]
fn the_curvature_of_two_tokens() {
    let (temperature, weight) = (2.0, 4.0);
    let case = Case::new(Call::HeadFisher { temperature }, "two tokens")
        .reads("weight", Kind::Acc, full(1, 1, weight))
        .reads("lse", Kind::Acc, full(1, 1, (1.0 + 2f64.exp()).ln()))
        .reads("h", Kind::Buf, full(1, 1, 1.0))
        .reads("h_dot", Kind::Buf, full(1, 1, 0.0))
        .reads_whole("w", Kind::Weight, matrix(2, 1, [0.0, 4.0]))
        .reads_whole("w_dot", Kind::Weight, matrix(2, 1, [0.0, 1.0]))
        .writes("dh", Kind::Buf, (1, 1))
        .updates_whole("dw", Kind::Acc, full(2, 1, 0.0));
    let p = 2f64.exp() / (1.0 + 2f64.exp());
    let u = weight * p * (1.0 - p) / (temperature * temperature);
    known(case, [&[4.0 * u], &[-u, u]]);
}

/// One row asked about every token: one of them is the best, to the bit, and none is better.
#[test]
fn the_best_token_is_known_by_its_log_prob() {
    struct Best;
    impl Visit for Best {
        fn visit<B: Backend>(&mut self, device: &Device<B>) {
            let mut rng = Rng::new("best");
            let (v, c) = (37, 9);
            let one = rng.matrix(1, c);
            let case = Case::new(Call::Head { temperature: 0.7 }, "every token")
                .index((0..v as u32).collect())
                .reads("h", Kind::Buf, pick_rows(&one, &vec![0; v]))
                .reads_whole("w", Kind::Weight, rng.matrix(v, c))
                .writes("logp", Kind::Acc, (v, 1))
                .writes("entropy", Kind::Acc, (v, 1))
                .saves("lse", Kind::Acc, (v, 1))
                .saves("best", Kind::Acc, (v, 1));
            let out = run(device, &device.round_case(&case));
            let most = out[0].data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(out[3].data, vec![most; v], "{}", device.name);
        }
    }
    each(&mut Best);
}

/// Step 1 from zero moments moves by lr g / (|g| + eps), after the decay: p = 2 - 2 lr wd - lr sign(g).
#[test]
fn the_first_step_of_adamw_is_a_sign_step_after_decay() {
    let step = AdamW {
        learning_rate: 0.5,
        beta1: 0.75,
        beta2: 0.9375,
        eps: 0.0,
        weight_decay: 0.25,
        step: 1,
        grad_scale: 0.5,
    };
    let case = Case::new(Call::Adamw { step }, "first step")
        .reads("grad", Kind::Acc, matrix(1, 2, [8.0, -4.0]))
        .updates("p", Kind::Acc, full(1, 2, 2.0))
        .updates("m", Kind::Acc, full(1, 2, 0.0))
        .updates("v", Kind::Acc, full(1, 2, 0.0));
    known(case, [&[1.25, 2.25], &[1.0, -0.5], &[1.0, 0.25]]);
}

/// Ties go to the even neighbour; nothing is lost where the precision has the number.
#[test]
fn narrow_rounds_to_nearest_even() {
    struct Narrow;
    impl Visit for Narrow {
        fn visit<B: Backend>(&mut self, device: &Device<B>) {
            let ulp = match device.precision {
                Precision::F64 | Precision::F32 => return,
                Precision::Bf16 => 2f64.powi(-7),
            };
            let x = [
                1.0 + ulp / 2.0,
                1.0 + 1.5 * ulp,
                1.0 + 0.51 * ulp,
                -1.0 - 0.49 * ulp,
                3e38,
                -0.0,
                f64::INFINITY,
            ];
            let want = [
                1.0,
                1.0 + 2.0 * ulp,
                1.0 + ulp,
                -1.0,
                f64::from(half::bf16::from_f64(3e38)),
                -0.0,
                f64::INFINITY,
            ];
            let got = device.round(Kind::Buf, &matrix(1, 7, x));
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got.data), bits(&want), "{}: {:?}", device.name, got.data);
        }
    }
    each(&mut Narrow);
}

/// What is in a fresh buffer, in a zeroed one: zeros, on every backend.
#[test]
fn fresh_and_zeroed_buffers_are_zero() {
    for (call, kind) in [
        (Call::Buf, Kind::Buf),
        (Call::Acc, Kind::Acc),
        (Call::Zero, Kind::Acc),
        (Call::ZeroBuf, Kind::Buf),
    ] {
        known(Case::new(call, "3x2").writes("x", kind, (3, 2)), [&[0.0; 6]]);
    }
}
