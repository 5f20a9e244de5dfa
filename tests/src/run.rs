//! How a case is called.
use kernel::backend::{
    CacheShape, Dual, HeadCotangent, HeadIn, HeadOut, Heads, LinearGrads, LinearLayer, Memory, Paths, Qkv, QkvMut, Span,
};
use kernel::batch::Segment;
use kernel::mat::{Mat, Use};
use kernel::params::Part;
use kernel::real::Real;
use kernel::sample::{Draw, DrawKey};

use crate::case::{Call, Case, Kind, Output};
use crate::device::{Backend, Device};
use crate::host::{Host, Rng, full, pick_rows};

/// Runs the case on the device; returns what its outputs hold afterwards. Panics where a guard row was written or an
/// input changed.
pub fn run<B: Backend>(device: &Device<B>, case: &Case) -> Vec<Host> {
    run_as(device, case, Use::Training)
}

/// As [`run`], with weights prepared for `usage`.
pub fn run_as<B: Backend>(device: &Device<B>, case: &Case, usage: Use) -> Vec<Host> {
    let of = |kind| case.inputs.iter().filter(move |x| x.kind == kind);
    let buf: Vec<_> = of(Kind::Buf).map(|x| device.input_buf(&x.value)).collect();
    let acc: Vec<_> = of(Kind::Acc).map(|x| device.input_acc(&x.value)).collect();
    let weight: Vec<_> = of(Kind::Weight).map(|x| device.weight(&x.value, usage)).collect();
    let out = |kind| case.outputs.iter().filter(move |y| y.kind == kind);
    let mut out_buf: Vec<_> = out(Kind::Buf).map(|y| device.output_buf(&y.initial)).collect();
    let mut out_acc: Vec<_> = out(Kind::Acc).map(|y| device.output_acc(&y.initial)).collect();

    let inputs = (&buf[..], &acc[..], &weight[..]);
    call(device, case, inputs, usage, &mut out_buf, &mut out_acc);

    let same = |a: &Host, b: &Host| a.data.iter().zip(&b.data).all(|(a, b)| a.to_bits() == b.to_bits());
    for (x, held) in of(Kind::Acc).zip(&acc) {
        let changed = !same(&device.download(held), &device.round(Kind::Acc, &x.value));
        assert!(!changed, "{}: {}: {} was written", device.name, case.name(), x.name);
    }
    for (x, held) in of(Kind::Buf).zip(&buf) {
        let mut wide = device.output_acc(&x.value);
        device.backend.widen(&mut wide, held);
        let changed = !same(&device.download(&wide), &device.round(Kind::Buf, &x.value));
        assert!(!changed, "{}: {}: {} was written", device.name, case.name(), x.name);
    }
    let (mut out_buf, mut out_acc) = (out_buf.into_iter(), out_acc.into_iter());
    let read = |y: &Output| {
        let what = format!("{}: {}", case.name(), y.name);
        match y.kind {
            Kind::Acc => device.read_acc(&what, out_acc.next().expect("one per output")),
            Kind::Buf => device.read_buf(&what, out_buf.next().expect("one per output")),
            Kind::Weight => panic!("{what}: a weight cannot be read back"),
        }
    };
    case.outputs.iter().map(read).collect()
}

type Inputs<'a, B> = (
    &'a [Mat<<B as Memory>::Buf>],
    &'a [Mat<<B as Memory>::Acc>],
    &'a [Mat<<B as Memory>::Weight>],
);

fn call<B: Backend>(
    device: &Device<B>,
    case: &Case,
    (buf, acc, weight): Inputs<'_, B>,
    usage: Use,
    out_buf: &mut [Mat<B::Buf>],
    out_acc: &mut [Mat<B::Acc>],
) {
    let b = &device.backend;
    let fine = "no fault on the device";
    let index = b.index(&case.index).expect(fine);
    let column = |x: &Mat<B::Acc>| (0..x.rows as u32).collect::<Vec<_>>();
    match &case.call {
        Call::Buf => {
            let fresh = b.buf(out_buf[0].rows, out_buf[0].cols).expect(fine);
            b.copy(&mut out_buf[0], &fresh);
        }
        Call::Acc => {
            let fresh = b.acc(out_acc[0].rows, out_acc[0].cols).expect(fine);
            out_acc[0] = device.output_acc(&device.download(&fresh));
        }
        Call::Prepare => {
            let mut w = b.weight(acc[0].rows, acc[0].cols, Use::Training).expect(fine);
            b.prepare(&mut w, &acc[0]);
            b.embed(&mut out_buf[0], &w, &b.index(&column(&acc[0])).expect(fine));
        }
        Call::Upload => {
            let mut host = vec![B::Real::ZERO; acc[0].len()];
            b.download(&mut host, &acc[0]).expect(fine);
            b.upload(&mut out_acc[0], &host).expect(fine);
        }
        Call::Narrow => b.narrow(&mut out_buf[0], &acc[0]),
        Call::Widen => b.widen(&mut out_acc[0], &buf[0]),
        Call::Copy => b.copy(&mut out_buf[0], &buf[0]),
        Call::Zero => b.zero(&mut out_acc[0]),
        Call::ZeroBuf => b.zero_buf(&mut out_buf[0]),
        Call::Embed => b.embed(&mut out_buf[0], &weight[0], &index),
        Call::EmbedBwd => b.embed_bwd(&mut out_acc[0], &buf[0], &index),
        Call::Gather => {
            // Longer, shorter and as long as before.
            for before in [0, case.index.len() / 2, case.index.len() + 5] {
                let mut rows = b.index(&vec![u32::MAX; before]).expect(fine);
                b.refill(&mut rows, &case.index).expect(fine);
                b.gather(&mut out_buf[0], &buf[0], &rows);
            }
        }
        Call::ScatterAdd => b.scatter_add(&mut out_buf[0], &buf[0], &index),
        Call::Rmsnorm { eps } => b.rmsnorm(&mut out_buf[0], &mut out_acc[0], &buf[0], &buf[1], *eps),
        Call::RmsnormBwd { accum } => {
            let [dy, x, w] = buf else { panic!("dy, x, w") };
            b.rmsnorm_bwd(&mut out_buf[0], &mut out_acc[0], dy, x, w, &acc[0], *accum);
        }
        Call::Linear { accum } => b.linear(&mut out_buf[0], &buf[0], &weight[0], buf.get(1), *accum),
        Call::LinearBwdX { accum } => b.linear_bwd_x(&mut out_buf[0], &buf[0], &weight[0], *accum),
        Call::LinearBwdW => {
            let (dw, db) = out_acc.split_at_mut(1);
            b.linear_bwd_w(&mut dw[0], db.first_mut(), &buf[0], &buf[1]);
        }
        Call::LinearEach => {
            let values = |kind| case.inputs.iter().filter(move |x| x.kind == kind).map(|x| &x.value);
            // Of three layers the second has no bias.
            let mut biases = values(Kind::Buf).skip(1);
            let layers: Vec<LinearLayer<B>> = values(Kind::Weight)
                .enumerate()
                .map(|(i, w)| LinearLayer::<B> {
                    weight: device.weight(w, usage),
                    bias: (i != 1).then(|| device.input_buf(biases.next().expect("a bias for each layer but one"))),
                })
                .collect();
            let ([y0, y1, y2], [l0, l1, l2]) = (out_buf, &layers[..]) else {
                panic!("three layers")
            };
            b.linear_each([(y0, l0), (y1, l1), (y2, l2)], &buf[0]);
        }
        Call::LinearEachBwdX => {
            let ([dy0, dy1, dy2], [w0, w1, w2]) = (buf, weight) else {
                panic!("three layers")
            };
            b.linear_each_bwd_x(&mut out_buf[0], [(dy0, w0), (dy1, w1), (dy2, w2)]);
        }
        Call::LinearEachBwdW => {
            let mut taken = out_acc
                .iter_mut()
                .map(|x| core::mem::replace(x, b.acc(1, 1).expect(fine)));
            let mut take = || taken.next().expect("three gradients, two of biases");
            let mut grads = [true, false, true].map(|bias| LinearGrads::<B> {
                weight: take(),
                bias: bias.then(&mut take),
            });
            drop(taken);
            let ([g0, g1, g2], [x, dy0, dy1, dy2]) = (&mut grads, buf) else {
                panic!("x, dy0, dy1, dy2")
            };
            b.linear_each_bwd_w([(g0, dy0), (g1, dy1), (g2, dy2)], x);
            let back = grads.into_iter().flat_map(|g| core::iter::once(g.weight).chain(g.bias));
            out_acc.iter_mut().zip(back).for_each(|(to, from)| *to = from);
        }
        Call::Rope { head_dim, direction } => {
            b.copy(&mut out_buf[0], &buf[0]);
            b.rope(&mut out_buf[0], &acc[0], &index, *head_dim, *direction);
        }
        Call::Attention { segments, heads } => {
            let tree = b.tree(segments).expect(fine);
            b.attention(&mut out_buf[0], &mut out_acc[0], qkv(buf), &tree, *heads);
        }
        Call::AttentionBwd { segments, heads } => {
            let tree = b.tree(segments).expect(fine);
            let [q, k, v] = out_buf else { panic!("dq, dk, dv") };
            b.attention_bwd(
                QkvMut { q, k, v },
                &buf[0],
                &buf[1],
                &acc[0],
                qkv(&buf[2..]),
                &tree,
                *heads,
            );
        }
        Call::Swiglu => b.swiglu(&mut out_buf[0], &buf[0], &buf[1]),
        Call::SwigluBwd => {
            let [d_gate, d_up] = out_buf else {
                panic!("d_gate, d_up")
            };
            b.swiglu_bwd(d_gate, d_up, &buf[0], &buf[1], &buf[2]);
        }
        Call::SwigluFwdBwd => {
            let [y, d_gate, d_up] = out_buf else {
                panic!("y, d_gate, d_up")
            };
            b.swiglu_fwd_bwd(y, d_gate, d_up, &buf[0], &buf[1], &buf[2]);
        }
        Call::Head { temperature } => {
            b.head(head_out(out_acc), &buf[0], &weight[0], &index, *temperature);
        }
        Call::HeadBwd { temperature } => {
            let [dlogp, dentropy, lse, entropy] = acc else {
                panic!("dlogp, dentropy, lse, entropy")
            };
            let cotangent = HeadCotangent {
                dlogp,
                dentropy,
                lse,
                entropy,
            };
            b.head_bwd(
                &mut out_buf[0],
                &mut out_acc[0],
                cotangent,
                &buf[0],
                &weight[0],
                &index,
                *temperature,
            );
        }
        Call::Dot => {
            let dot = b.dot(&acc[0], &acc[1]).expect(fine);
            out_acc[0] = device.output_acc(&full(1, 1, dot));
        }
        Call::Axpy { alpha } => b.axpy(&mut out_acc[0], *alpha, &acc[0]),
        Call::Scale { alpha } => b.scale(&mut out_acc[0], *alpha),
        Call::Adamw { step } => {
            let [p, m, v] = out_acc else { panic!("p, m, v") };
            b.adamw(p, m, v, &acc[0], step);
        }
        Call::AdamwNarrow { step, dither } => {
            let [p, m, v, matrix] = out_buf else {
                panic!("p, m, v, matrix")
            };
            // A prepared matrix is read back through `embed`; its moments are those of the vector.
            let (mut m1, mut v1) = (b.buf(m.rows, m.cols).expect(fine), b.buf(v.rows, v.cols).expect(fine));
            b.copy(&mut m1, m);
            b.copy(&mut v1, v);
            let mut w = b.weight(p.rows, p.cols, Use::Training).expect(fine);
            let mut wide = b.acc(p.rows, p.cols).expect(fine);
            b.widen(&mut wide, p);
            b.prepare(&mut w, &wide);
            b.adamw_narrow(Part::Matrix(&mut w), &mut m1, &mut v1, &acc[0], step, *dither);
            b.embed(matrix, &w, &b.index(&column(&acc[0])).expect(fine));
            b.adamw_narrow(Part::Vector(p), m, v, &acc[0], step, *dither);
        }
        Call::AttentionDecode { segments, heads } => {
            let kv: Vec<&Host> = case.inputs[1..].iter().map(|x| &x.value).collect();
            let slots: Vec<u32> = Rng::new(&case.label)
                .permutation(kv[0].rows)
                .iter()
                .map(|&i| i as u32)
                .collect();
            decode(
                device,
                &mut out_buf[0],
                &buf[0],
                (kv[0], kv[1]),
                &slots,
                &paths(segments, &slots),
                *heads,
            );
        }
        Call::Logits => b.logits(&mut out_acc[0], &buf[0], &weight[0]),
        Call::Logp { temperature } => b.logp(head_out(out_acc), &acc[0], &index, *temperature),
        Call::Sample { how } => {
            let draws: Vec<Draw<'_>> = case.index.iter().enumerate().map(draw).collect();
            let tokens = b.sample(&acc[0], &draws, how).expect(fine);
            let tokens = tokens.into_iter().map(|t| t.map_or(-1.0, f64::from)).collect();
            out_acc[0] = device.output_acc(&Mat::new(tokens, case.index.len(), 1));
        }
        Call::RmsnormJvp => b.rmsnorm_jvp(&mut out_buf[0], dual(buf), dual(&buf[2..]), &acc[0]),
        Call::AttentionJvp { segments, heads } => {
            let tree = b.tree(segments).expect(fine);
            let (o, lse) = (&buf[3], &acc[0]);
            b.attention_jvp(&mut out_buf[0], qkv(buf), o, lse, qkv(&buf[4..]), &tree, *heads);
        }
        Call::SwigluJvp => b.swiglu_jvp(&mut out_buf[0], dual(buf), dual(&buf[2..])),
        Call::HeadFisher { temperature } => {
            let (dh, dw) = (&mut out_buf[0], &mut out_acc[0]);
            b.head_fisher(dh, dw, &acc[0], &acc[1], dual(buf), dual(weight), *temperature);
        }
        Call::HeadKl { temperature } => {
            let [old, new] = [0, 1].map(|i| HeadIn {
                h: &buf[i],
                w: &weight[i],
            });
            b.head_kl(&mut out_acc[0], old, new, *temperature);
        }
    }
}

/// A draw from row i, keyed by the row's number in the index, after the tokens 0 to 3.
fn draw((row, &position): (usize, &u32)) -> Draw<'static> {
    let (seed, prompt, completion) = (7, 3, 1);
    Draw {
        row,
        context: &[2, 0, 3, 1, 2],
        key: DrawKey {
            seed,
            prompt,
            completion,
            position,
        },
    }
}

fn head_out<T>(x: &mut [Mat<T>]) -> HeadOut<'_, T> {
    let [logp, entropy, lse, best] = x else {
        panic!("logp, entropy, lse, best")
    };
    HeadOut {
        logp,
        entropy,
        lse,
        best,
    }
}

fn dual<T>(x: &[Mat<T>]) -> Dual<'_, T> {
    Dual { x: &x[0], x_dot: &x[1] }
}

fn qkv<T>(x: &[Mat<T>]) -> Qkv<'_, T> {
    Qkv {
        q: &x[0],
        k: &x[1],
        v: &x[2],
    }
}

/// The path of every row of a tree, when row i is in cache row `slots[i]`: runs of neighbouring slots are one span.
pub fn paths(segments: &[Segment], slots: &[u32]) -> Paths {
    let mut paths = Paths::new();
    for (at, segment) in segments.iter().enumerate() {
        let mut before: Vec<usize> = Vec::new();
        let mut next = segments[at].parent;
        while let Some(p) = next {
            let s = segments[p];
            before.splice(0..0, s.start..s.start + s.len);
            next = s.parent;
        }
        for i in segment.start..segment.start + segment.len {
            before.push(i);
            let mut spans: Vec<Span> = Vec::new();
            for &row in &before {
                let start = slots[row] as usize;
                match spans.last_mut() {
                    Some(last) if last.start + last.len == start => last.len += 1,
                    _ => spans.push(Span { start, len: 1 }),
                }
            }
            paths.push(spans);
        }
    }
    paths
}

/// Fills layer 1 of a cache of 3 with row i of k and v in slot `slots[i]`, the other layers and slots with NaN, and
/// attends.
pub fn decode<B: Backend>(
    device: &Device<B>,
    o: &mut Mat<B::Buf>,
    q: &Mat<B::Buf>,
    (k, v): (&Host, &Host),
    slots: &[u32],
    paths: &Paths,
    heads: Heads,
) {
    let b = &device.backend;
    let rows = slots.iter().max().map_or(0, |&s| s as usize + 1) + 2;
    let shape = CacheShape { layers: 3, rows, heads };
    let mut cache = b.cache(shape).expect("no fault on the device");
    let all: Vec<u32> = (0..rows as u32).collect();
    let nan = device.input_buf(&full(rows, k.cols, f64::NAN));
    for layer in 0..3 {
        b.kv_append(&mut cache, &nan, &nan, layer, &all);
    }
    // In two goes, as a prompt and then its continuation would come.
    let half = slots.len() / 2;
    for part in [0..half, half..slots.len()] {
        let pick: Vec<usize> = part.clone().collect();
        let [k, v] = [k, v].map(|x| device.input_buf(&pick_rows(x, &pick)));
        b.kv_append(&mut cache, &k, &v, 1, &slots[part]);
    }
    // The same work again, as the steps of a decoder are: a device may replay it.
    for _ in 0..3 {
        b.zero_buf(o);
        b.together(|| b.attention_decode(o, q, &cache, 1, paths));
    }
}
