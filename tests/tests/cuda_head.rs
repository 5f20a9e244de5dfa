//! The head on the device: what a rollout records is what training computes, bit for bit where the logits agree; more rows than a chunk
//! has; the same bits again. Needs a driver, as `cuda.rs` does.
use kernel::backend::HeadOut;
use kernel::mat::{Accum, Mat, Use};
use tests::backward::{backward, cotangents};
use tests::case::{Call, Case, Kind};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each_cuda, oracle};
use tests::host::{Host, Rng, full};
use tests::run::run;
use tests::tangent::{directions, tangents};
use tests::tolerance::{check, report};

fn visit_cuda(visit: &mut impl Visit) {
    each_cuda(visit);
}

fn bits(x: &[Host]) -> Vec<u64> {
    x.iter().flat_map(|x| &x.data).map(|x| x.to_bits()).collect()
}

/// Log-prob, entropy, lse and best of `call`.
fn scores<B: Backend>(device: &Device<B>, p: usize, call: impl FnOnce(HeadOut<'_, B::Acc>)) -> [Host; 4] {
    let nan = full(p, 1, f64::NAN);
    let [mut logp, mut entropy, mut lse, mut best] = [0; 4].map(|_| device.output_acc(&nan));
    call(HeadOut {
        logp: &mut logp,
        entropy: &mut entropy,
        lse: &mut lse,
        best: &mut best,
    });
    [logp, entropy, lse, best].map(|x| device.read_acc("scores", x))
}

/// Logits that are asked for, and the head's own, of rows that are aligned and rows that are not.
struct Recorded;

impl Visit for Recorded {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let b = &device.backend;
        for (p, c, v) in [(1, 16, 2051), (5, 40, 1030), (130, 24, 515), (9, 8, 64), (3, 16, 3)] {
            for temperature in [1.0, 0.7] {
                let mut rng = Rng::new(&format!("{p} {c} {v}"));
                let h = device.input_buf(&rng.matrix(p, c));
                let w = device.weight(&rng.matrix(v, c), Use::Training);
                let targets = b.index(&rng.index(p, v)).expect("room");
                let trained = scores(device, p, |out| b.head(out, &h, &w, &targets, temperature));
                let mut z = device.output_acc(&full(p, v, f64::NAN));
                b.logits(&mut z, &h, &w);
                let recorded = scores(device, p, |out| b.logp(out, &z, &targets, temperature));
                assert!(
                    bits(&trained) == bits(&recorded),
                    "{}: P {p}, {c} to {v}, temperature {temperature}",
                    device.name
                );
                let host: Vec<f64> = device.download(&z).data;
                assert!(host.iter().all(|z| z.is_finite()), "logits that are all there");
            }
        }
    }
}

#[test]
fn what_is_recorded_is_what_is_trained() {
    visit_cuda(&mut Recorded);
}

/// 1,028 rows: one chunk and four rows of the next.
struct Chunks(Vec<String>);

impl Visit for Chunks {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let (p, c, v) = (1028, 8, 9);
        let mut rng = Rng::new("chunks");
        let case = Case::new(Call::Head { temperature: 0.9 }, format!("P {p}, {c} to {v}"))
            .index(rng.index(p, v))
            .reads("h", Kind::Buf, rng.matrix(p, c))
            .reads_whole("w", Kind::Weight, rng.matrix(v, c))
            .writes("logp", Kind::Acc, (p, 1))
            .writes("entropy", Kind::Acc, (p, 1))
            .saves("lse", Kind::Acc, (p, 1))
            .saves("best", Kind::Acc, (p, 1));
        let case = device.round_case(&case);
        let outputs = run(&oracle(), &case);
        let d = cotangents(&case, &mut rng);
        let mut cases: Vec<Case> = backward(&case, &outputs, &d, Accum::Add)
            .into_iter()
            .map(|b| b.case)
            .collect();
        let v = directions(&case, &mut rng);
        cases.extend(tangents(&case, &outputs, &v));
        cases.push(case);
        for case in &cases {
            let case = device.round_case(case);
            let results = run(device, &case);
            assert!(
                bits(&results) == bits(&run(device, &case)),
                "{}: {}: other bits the second time",
                device.name,
                case.name()
            );
            let lines = check(device, &case, &results, &run(&oracle(), &case));
            self.0
                .extend(lines.iter().map(|line| format!("{}: {line}", device.name)));
        }
    }
}

#[test]
fn rows_beyond_a_chunk() {
    let mut chunks = Chunks(Vec::new());
    visit_cuda(&mut chunks);
    report("chunks", &chunks.0);
}

/// A logit of -infinity counts nothing, forward; NaN shows.
struct Odd;

impl Visit for Odd {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let v = 37;
        let mut z = Rng::new("odd").matrix(3, v);
        z.data[..20].fill(f64::NEG_INFINITY);
        let short = Mat::new(z.data[20..v].to_vec(), 1, v - 20);
        z.data[v + 5] = f64::NAN;
        let ask = |z: &Host, targets: &[u32]| {
            let b = &device.backend;
            let (z, targets) = (device.input_acc(z), b.index(targets).expect("room"));
            scores(device, z.rows, |out| b.logp(out, &z, &targets, 1.0))
        };
        let all = ask(&z, &[30, 1, 1]);
        let alone = ask(&short, &[10]);
        for (all, alone) in all.iter().zip(&alone) {
            let close = (all.data[0] - alone.data[0]).abs() < 1e-6;
            assert!(close, "{}: {} and {}", device.name, all.data[0], alone.data[0]);
            assert!(all.data[2].is_finite(), "{}", device.name);
        }
        assert!(all[2].data[1].is_nan(), "{}: the lse of a row with NaN", device.name);
    }
}

#[test]
fn infinities_count_nothing_and_nan_shows() {
    visit_cuda(&mut Odd);
}
