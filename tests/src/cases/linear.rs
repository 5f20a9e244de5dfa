//! Matrix products: linear, head, logits; log-probs of logits, and tokens drawn from them.
use kernel::mat::Accum;
use kernel::sample::Sampling;

use super::Sizes;
use crate::case::{Call, Case, Extent, Kind};
use crate::host::Rng;

/// Cases of linear, head, logits, sampling.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    // (N, in, out)
    let linear: &[(usize, usize, usize)] = match sizes {
        Sizes::Small => &[(1, 1, 1), (3, 4, 5)],
        Sizes::Full => &[
            (1, 1, 1),
            (1, 64, 64),
            (2, 3, 7),
            (3, 16, 1),
            (5, 33, 48),
            (7, 100, 31),
            (8, 65, 129),
            (13, 31, 17),
            (17, 1030, 9),
            (33, 48, 100),
            (65, 130, 66),
            (150, 20, 34),
            // Rows of 16 bytes: what a fast backend is made for. Beyond its tiles, and few rows.
            (1, 72, 40),
            (6, 1032, 24),
            (20, 40, 136),
            (40, 264, 72),
            (130, 560, 8),
            (290, 24, 144),
            (530, 16, 8),
        ],
    };
    // (P, C, V)
    let head: &[(usize, usize, usize)] = match sizes {
        Sizes::Small => &[(1, 2, 3), (3, 4, 7)],
        Sizes::Full => &[
            (1, 1, 1),
            (1, 64, 257),
            (3, 33, 7),
            (5, 20, 1001),
            (17, 48, 65),
            (70, 16, 131),
            (4, 40, 515),
            (130, 24, 264),
        ],
    };
    // (N, in, outs)
    let each: &[(usize, usize, [usize; 3])] = match sizes {
        Sizes::Small => &[(3, 4, [5, 2, 3])],
        Sizes::Full => &[
            (1, 64, [64, 32, 32]),
            (2, 33, [48, 7, 20]),
            (40, 72, [136, 24, 24]),
            (130, 40, [33, 100, 1]),
        ],
    };
    let linear = linear.iter().flat_map(|&(n, inp, out)| linear_of(n, inp, out));
    linear
        .chain(each.iter().flat_map(|&(n, inp, outs)| each_of(n, inp, outs)))
        .chain(head.iter().flat_map(|&(p, c, v)| head_of(p, c, v)))
        .chain(head.iter().flat_map(|&(p, _, v)| sample_of(p, v)))
        .collect()
}

fn linear_of(n: usize, inp: usize, out: usize) -> Vec<Case> {
    let of = |(bias, accum)| {
        let label = format!("N {n}, {inp} to {out}, {bias} bias, {accum:?}");
        let mut rng = Rng::new(&label);
        let case = Case::new(Call::Linear { accum }, label)
            .reads("x", Kind::Buf, rng.matrix(n, inp))
            .reads_whole("w", Kind::Weight, rng.matrix(out, inp));
        let case = match bias {
            1 => case.reads_whole("bias", Kind::Buf, rng.matrix(1, out)),
            _ => case,
        };
        match accum {
            Accum::Replace => case.writes("y", Kind::Buf, (n, out)),
            Accum::Add => case.updates("y", Kind::Buf, rng.matrix(n, out)),
        }
    };
    [
        (0, Accum::Replace),
        (1, Accum::Replace),
        (0, Accum::Add),
        (1, Accum::Add),
    ]
    .map(of)
    .to_vec()
}

/// Three layers of one input, the second without a bias, forward and backward.
fn each_of(n: usize, inp: usize, [q, k, v]: [usize; 3]) -> [Case; 3] {
    let label = format!("N {n}, {inp} to {q}, {k} and {v}");
    let mut rng = Rng::new(&label);
    let x = rng.matrix(n, inp);
    let [wq, wk, wv] = [q, k, v].map(|out| rng.matrix(out, inp));
    let [dq, dk, dv] = [q, k, v].map(|out| rng.matrix(n, out));
    let forward = Case::new(Call::LinearEach, label.clone())
        .reads("x", Kind::Buf, x.clone())
        .reads_whole("w0", Kind::Weight, wq.clone())
        .reads_whole("bias0", Kind::Buf, rng.matrix(1, q))
        .reads_whole("w1", Kind::Weight, wk.clone())
        .reads_whole("w2", Kind::Weight, wv.clone())
        .reads_whole("bias2", Kind::Buf, rng.matrix(1, v))
        .writes("y0", Kind::Buf, (n, q))
        .writes("y1", Kind::Buf, (n, k))
        .writes("y2", Kind::Buf, (n, v));
    let dx = Case::new(Call::LinearEachBwdX, label.clone())
        .reads("dy0", Kind::Buf, dq.clone())
        .reads_whole("w0", Kind::Weight, wq)
        .reads("dy1", Kind::Buf, dk.clone())
        .reads_whole("w1", Kind::Weight, wk)
        .reads("dy2", Kind::Buf, dv.clone())
        .reads_whole("w2", Kind::Weight, wv)
        .writes("dx", Kind::Buf, (n, inp));
    let dw = Case::new(Call::LinearEachBwdW, label)
        .reads("x", Kind::Buf, x)
        .reads("dy0", Kind::Buf, dq)
        .reads("dy1", Kind::Buf, dk)
        .reads("dy2", Kind::Buf, dv)
        .updates_whole("dw0", Kind::Acc, rng.matrix(q, inp))
        .updates_whole("db0", Kind::Acc, rng.matrix(1, q))
        .updates_whole("dw1", Kind::Acc, rng.matrix(k, inp))
        .updates_whole("dw2", Kind::Acc, rng.matrix(v, inp))
        .updates_whole("db2", Kind::Acc, rng.matrix(1, v));
    [forward, dx, dw]
}

fn head_of(p: usize, c: usize, v: usize) -> Vec<Case> {
    let of = |temperature| {
        let label = format!("P {p}, {c} to {v}, temperature {temperature}");
        let mut rng = Rng::new(&label);
        let h = rng.matrix(p, c);
        // Logits of a few units each, whatever C is.
        let mut w = rng.matrix(v, c);
        w.data.iter_mut().for_each(|w| *w *= 2.0 / (c as f64).sqrt());
        let logits = Case::new(Call::Logits, label.clone())
            .reads("h", Kind::Buf, h.clone())
            .reads_whole("w", Kind::Weight, w.clone())
            .writes("z", Kind::Acc, (p, v));
        let mut own = Rng::new(&format!("logp, {label}"));
        let mut z = own.matrix(p, v);
        z.data.iter_mut().for_each(|z| *z *= 2.0);
        let logp = Case::new(Call::Logp { temperature }, label.clone())
            .index(own.index(p, v))
            .reads("z", Kind::Acc, z)
            .writes("logp", Kind::Acc, (p, 1))
            .writes("entropy", Kind::Acc, (p, 1))
            .saves("lse", Kind::Acc, (p, 1))
            .saves("best", Kind::Acc, (p, 1));
        let head = Case::new(Call::Head { temperature }, label)
            .index(rng.index(p, v))
            .reads("h", Kind::Buf, h)
            .reads_whole("w", Kind::Weight, w)
            .writes("logp", Kind::Acc, (p, 1))
            .writes("entropy", Kind::Acc, (p, 1))
            .saves("lse", Kind::Acc, (p, 1))
            .saves("best", Kind::Acc, (p, 1));
        [logits, head, logp]
    };
    [1.0, 0.7].into_iter().flat_map(of).collect()
}

fn sample_of(p: usize, v: usize) -> Vec<Case> {
    let all = Sampling {
        temperature: 1.0,
        ..Sampling::GREEDY
    };
    let filtered = Sampling {
        temperature: 0.7,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.02,
        repetition_penalty: 1.3,
    };
    let of = |(name, how)| {
        let label = format!("{p} of {v}, {name}");
        let mut rng = Rng::new(&label);
        let mut z = rng.matrix(p, v);
        z.data.iter_mut().for_each(|z| *z *= 2.0);
        Case::new(Call::Sample { how }, label)
            .index(rng.index(p, 1000))
            .reads_constant("z", Kind::Acc, Extent::Rows, z)
            .saves("token", Kind::Acc, (p, 1))
    };
    [("all", all), ("filtered", filtered), ("greedy", Sampling::GREEDY)]
        .map(of)
        .to_vec()
}
