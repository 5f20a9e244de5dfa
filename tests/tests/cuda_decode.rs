//! Decoding on the CUDA device, beyond the shared cases: every width of a head, groups of any size, paths that are cut into several tasks.
//! Needs a driver, as `cuda.rs` does.
use kernel::backend::{Decode, Heads, Paths, Span};
use kernel::mat::{Mat, Use};
use kernel::real::Real;
use kernel::transformer::Decoder;
use tests::cases::heads;
use tests::device::{Backend, Device};
use tests::devices::{Visit, cuda, each_cuda, oracle};
use tests::host::{Host, Rng, full};
use tests::run::decode;
use tests::tolerance::{TABLE, worst};
use tests::whole::{biased, model, tokens};

/// Attention of a row for each of `lengths` over a path of so many positions, in spans of up to `span` rows, no two of them neighbours.
fn attend<B: Backend>(device: &Device<B>, qkv: &[Host; 3], lengths: &[usize], span: usize, heads: Heads) -> Host {
    let [q, k, v] = qkv;
    let mut paths = Paths::new();
    for &len in lengths {
        let starts = (0..len).step_by(span).rev();
        paths.push(starts.map(|start| Span {
            start,
            len: span.min(len - start),
        }));
    }
    let slots: Vec<u32> = (0..k.rows as u32).collect();
    let mut o = device.output_buf(&full(q.rows, q.cols, f64::NAN));
    decode(device, &mut o, &device.input_buf(q), (k, v), &slots, &paths, heads);
    device.read_buf("o", o)
}

struct Check(Vec<String>);

impl Visit for Check {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let widths = (8..=128).step_by(8).map(|d| (heads(3, 1, d), vec![70, 1], 32));
        let groups = [1, 2, 5, 7, 8, 9, 12, 14, 20].map(|group| (heads(2 * group, 2, 16), vec![40], 7));
        let wide_groups = [6, 7, 8].map(|group| (heads(group, 1, 64), vec![300], 32));
        let wider_groups = [1, 2, 4, 7, 8].map(|group| (heads(group, 1, 128), vec![33, 17], 16));
        // Several tasks; 256, 512 and 1024 positions a task.
        let long = [
            (heads(2, 1, 64), vec![256, 257, 700], 32),
            (heads(4, 2, 8), vec![5000, 40], 999),
            (heads(10, 2, 8), vec![300, 520], 32),
            // More tasks than a warp has lanes, and the largest score among the last.
            (heads(4, 1, 8), vec![65000], 5000),
        ];
        let all = widths.chain(groups).chain(wide_groups).chain(wider_groups).chain(long);
        for (heads, lengths, span) in all {
            let label = format!("{heads:?}, lengths {lengths:?}, spans of {span}");
            let mut rng = Rng::new(&label);
            let rows = lengths.iter().copied().max().unwrap_or(0);
            let shapes = [
                (lengths.len(), heads.heads),
                (rows, heads.kv_heads),
                (rows, heads.kv_heads),
            ];
            let qkv: [Host; 3] = shapes.map(|(n, h)| rng.matrix(n, h * heads.head_dim));
            let qkv = qkv.map(|x| device.round(tests::case::Kind::Buf, &x));
            let want: Mat<Vec<f64>> = attend(&oracle(), &qkv, &lengths, span, heads);
            let (error, place) = worst(&attend(device, &qkv, &lengths, span, heads), &want);
            let allowed = TABLE
                .iter()
                .find(|t| t.precision == device.precision)
                .map_or(0.0, |t| t.buf);
            if error > allowed {
                self.0.push(format!(
                    "{}: {label}: {place}: error {error:.1e} > {allowed:.0e}",
                    device.name
                ));
            }
        }
    }
}

#[test]
fn attention_over_the_cache_is_right_for_any_head_and_any_length() {
    let mut check = Check(Vec::new());
    if !each_cuda(&mut check) {
        return;
    }
    assert!(check.0.is_empty(), "{}", check.0.join("\n"));
}

/// Logits after a prefill of two prompts and 24 steps of three sequences, the third a copy of the first.
fn steps<B: Decode>(b: &B) -> Vec<f64> {
    let config = biased();
    let text = tokens("steps", 100, config.vocab);
    let model = model(b, config, Use::Inference);
    let fine = "no fault on the device";
    let mut decoder = Decoder::new(b, &model, 300).expect(fine);
    let mut ids = decoder.prefill(b, &model, &[&text[..20], &text[20..28]]).expect(fine);
    ids.push(decoder.fork(ids[0]));
    let logits = |decoder: &Decoder<B>| decoder.logits(b).expect(fine).into_iter().map(|z| z.to_f64());
    let mut all: Vec<f64> = logits(&decoder).collect();
    for tokens in text[28..].chunks_exact(3) {
        decoder.step(b, &model, &ids, tokens).expect(fine);
        all.extend(logits(&decoder));
    }
    all
}

#[test]
fn steps_are_replayed_and_stay_right() {
    let Some(b) = cuda::<f32>() else { return };
    let (got, want) = (steps(&b), steps(&oracle().backend));
    let host = |data: Vec<f64>| Mat::new(data, got.len(), 1);
    let (error, place) = worst(&host(got.clone()), &host(want));
    assert!(error < 1e-5, "{place}: error {error:.1e}");
    // Of 24 steps two are of a new shape, and the sequences come to three blocks of the cache.
    assert!(b.replays() >= 24, "{} replays", b.replays());
    assert_eq!(got, steps(&b), "the same calls give the same bits");
}
