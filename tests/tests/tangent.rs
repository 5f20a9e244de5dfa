//! The tangents of the operations: by differences, against the backward, and what the head's curvature is by itself.
use kernel::mat::Accum;
use tests::backward::{Backward, backward, cotangents};
use tests::case::{Call, Case};
use tests::cases::{Sizes, forward, tangents_of};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each, oracle};
use tests::host::{Host, Rng, add, dot, full, row};
use tests::run::run;
use tests::tolerance::{report, tolerance, worst};

/// The tangents among the inputs of a tangent's case, in the order of the forward case's inputs.
fn direction(case: &Case) -> Vec<&Host> {
    let named = case.inputs.iter().filter(|x| x.name.ends_with("_dot"));
    named.map(|x| &x.value).collect()
}

/// The case with every input moved by alpha v.
fn moved(case: &Case, alpha: f64, v: &[&Host]) -> Case {
    let mut case = case.clone();
    for (x, v) in case.inputs.iter_mut().zip(v) {
        x.value = add(&x.value, alpha, v);
    }
    case
}

/// Forward cases that have a tangent of their own, with it.
fn with_tangents<B: Backend>(device: &Device<B>, sizes: Sizes) -> impl Iterator<Item = (Case, Case)> {
    let cases = forward(sizes)
        .into_iter()
        .map(|f| (tangents_of(device, &f), device.round_case(&f)));
    cases
        .flat_map(|(tangents, f)| tangents.into_iter().map(move |t| (f.clone(), t)))
        .filter(|(_, t)| !matches!(t.call, Call::HeadFisher { .. } | Call::HeadKl { .. }))
}

#[test]
fn every_tangent_of_the_oracle_is_the_slope_of_its_forward() {
    // Truncation h^2 times a third derivative, rounding 1e-16 / h.
    const STEP: f64 = 1e-5;
    let device = oracle();
    let (mut lines, mut checks) = (Vec::new(), 0);
    for sizes in [Sizes::Small, Sizes::Full] {
        for (forward, tangent) in with_tangents(&device, sizes) {
            // Its softmax all but picks one key: the third derivative is that of scores of 64.
            let limit = if forward.label == "sharp" { 1e-4 } else { 1e-7 };
            let v = direction(&tangent);
            let [plus, minus] = [STEP, -STEP].map(|h| run(&device, &moved(&forward, h, &v)).swap_remove(0));
            let mut slope = add(&plus, -1.0, &minus);
            slope.data.iter_mut().for_each(|x| *x /= 2.0 * STEP);
            let (error, place) = worst(&run(&device, &tangent)[0], &slope);
            if error > limit {
                lines.push(format!("{}: {place}: {error:.1e}", tangent.name()));
            }
            checks += 1;
        }
    }
    assert!(checks > 30, "{checks} checks");
    report("Cpu<f64>", &lines);
}

/// The size of a sum of products whose signs are random: what an error of <x, y> is measured against.
fn size(x: &Host, y: &Host) -> f64 {
    let squares = x.data.iter().zip(&y.data).map(|(x, y)| (x * y) * (x * y));
    squares.sum::<f64>().sqrt()
}

struct Adjoint;

impl Visit for Adjoint {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let (mut lines, mut checks) = (Vec::new(), 0);
        for (forward, tangent) in with_tangents(device, Sizes::Full) {
            let outputs = run(&oracle(), &forward);
            let mut u = cotangents(&forward, &mut Rng::new(&forward.label));
            u[0] = device.round(forward.outputs[0].kind, &u[0]);
            let (v, jv) = (direction(&tangent), run(device, &tangent).swap_remove(0));
            let (mut right, mut scale) = (0.0, size(&u[0], &jv));
            let mut limit = tolerance(device, &tangent, &tangent.outputs[0]);
            for b in backward(&forward, &outputs, &u, Accum::Replace) {
                let b = Backward {
                    case: device.round_case(&b.case),
                    of: b.of,
                };
                let results = run(device, &b.case);
                for ((of, gradient), (after, y)) in b.gradients(&results).zip(results.iter().zip(&b.case.outputs)) {
                    right += dot(&gradient, v[of]);
                    // What the gradient was added to is part of what was rounded.
                    scale = scale.max(size(&gradient, v[of])).max(size(after, v[of]));
                    limit = limit.max(tolerance(device, &b.case, y));
                }
            }
            let left = dot(&u[0], &jv);
            if (left - right).abs() > limit * scale {
                let error = (left - right).abs() / scale;
                lines.push(format!(
                    "{}: <u, J v> = {left:e}, <J' u, v> = {right:e}: {error:.1e}",
                    tangent.name()
                ));
            }
            checks += 1;
        }
        assert!(checks > 25, "{checks} checks");
        report(&device.name, &lines);
    }
}

#[test]
fn the_tangent_is_the_transpose_of_the_backward_on_every_backend() {
    each(&mut Adjoint);
}

/// Logits h w' / temperature.
fn logits(h: &Host, w: &Host, temperature: f64) -> Host {
    let mut z = full(h.rows, w.rows, 0.0);
    for i in 0..h.rows {
        for j in 0..w.rows {
            let sum: f64 = row(h, i).iter().zip(row(w, j)).map(|(x, y)| x * y).sum();
            z.data[i * w.rows + j] = sum / temperature;
        }
    }
    z
}

/// Of each row, the softmax.
fn softmax(z: &Host) -> Host {
    let mut p = z.clone();
    for row in p.data.chunks_mut(z.cols) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|z| *z = (*z - max).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
    p
}

/// Cases of the head's curvature, as the device can represent them, and that of another direction.
fn fishers<B: Backend>(device: &Device<B>) -> Vec<(Case, Case, f64)> {
    let mut found = Vec::new();
    for f in forward(Sizes::Full) {
        let Call::Head { temperature } = f.call else {
            continue;
        };
        let one = tangents_of(device, &f).swap_remove(0);
        let mut other = one.clone();
        let mut rng = Rng::new(&format!("other {}", f.label));
        for x in other.inputs.iter_mut().filter(|x| x.name.ends_with("_dot")) {
            x.value = device.round(x.kind, &rng.matrix(x.value.rows, x.value.cols));
        }
        found.push((one, other, temperature));
    }
    found
}

fn input<'a>(case: &'a Case, name: &str) -> &'a Host {
    let found = case.inputs.iter().find(|x| x.name == name);
    &found.unwrap_or_else(|| panic!("{}: no {name}", case.name())).value
}

/// The tangent of the logits.
fn z_dot(case: &Case, temperature: f64) -> Host {
    let of = |h, w| logits(input(case, h), input(case, w), temperature);
    add(&of("h_dot", "w"), 1.0, &of("h", "w_dot"))
}

/// (dh, dw) . (h_dot, w_dot) of the direction of `other`.
fn along(case: &Case, results: &[Host], other: &Case) -> f64 {
    let dw = add(&results[1], -1.0, &case.outputs[1].initial);
    dot(&results[0], input(other, "h_dot")) + dot(&dw, input(other, "w_dot"))
}

struct Curvature;

impl Visit for Curvature {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let mut lines = Vec::new();
        for (one, other, temperature) in fishers(device) {
            let p = softmax(&logits(input(&one, "h"), input(&one, "w"), temperature));
            let [y, z] = [&one, &other].map(|c| z_dot(c, temperature));
            let weight = input(&one, "weight");
            // sum weight Cov_p(y, z), and the size of its terms.
            let covariance = |y: &Host, z: &Host| {
                let (mut sum, mut size) = (0.0, 0.0);
                for i in 0..p.rows {
                    let p = row(&p, i);
                    let mean = |x: &[f64]| p.iter().zip(x).map(|(p, x)| p * x).sum::<f64>();
                    let (ym, zm) = (mean(row(y, i)), mean(row(z, i)));
                    for ((p, y), z) in p.iter().zip(row(y, i)).zip(row(z, i)) {
                        let term = weight.data[i] * p * (y - ym) * (z - zm);
                        sum += term;
                        size += term.abs();
                    }
                }
                (sum, size)
            };
            let (limit, _) = (tolerance(device, &one, &one.outputs[0]), ());
            let results = run(device, &one);
            for (what, other, y, z) in [("variance", &one, &y, &y), ("covariance", &other, &y, &z)] {
                let (want, size) = covariance(y, z);
                let got = along(&one, &results, other);
                let error = (got - want).abs() / size.max(0.05);
                if error > limit {
                    lines.push(format!(
                        "{}: {what} {want:e}, <v, F v> {got:e}: {error:.1e}",
                        one.name()
                    ));
                }
            }
        }
        report(&device.name, &lines);
    }
}

/// v' F v is the weighted variance of the logits' tangent, u' F v a covariance.
#[test]
fn the_head_s_curvature_is_a_variance_on_every_backend() {
    each(&mut Curvature);
}

/// KL of the policy moved by h along the case's direction.
fn kl<B: Backend>(device: &Device<B>, fisher: &Case, h: f64, temperature: f64) -> Vec<f64> {
    let x = |name| input(fisher, name);
    let template = forward(Sizes::Small)
        .iter()
        .flat_map(|f| tangents_of(device, f))
        .find(|t| matches!(t.call, Call::HeadKl { .. }));
    let mut case = template.unwrap_or_else(|| panic!("no case of head_kl"));
    case.call = Call::HeadKl { temperature };
    let values = [
        x("h").clone(),
        add(x("h"), h, x("h_dot")),
        x("w").clone(),
        add(x("w"), h, x("w_dot")),
    ];
    for (input, value) in case.inputs.iter_mut().zip(values) {
        input.value = device.round(input.kind, &value);
    }
    case.outputs[0].initial = full(x("h").rows, 1, f64::NAN);
    run(device, &case).swap_remove(0).data
}

/// KL(old || old + h v) = h^2 / 2 v' F v, by a second difference; and 0 where nothing moved, whatever the precision.
#[test]
fn the_curvature_of_the_kl_is_the_head_s() {
    let device = oracle();
    let h = 1e-3;
    for (case, _, temperature) in fishers(&device) {
        let weight = input(&case, "weight");
        let mean = |h: f64| -> f64 {
            let kl = kl(&device, &case, h, temperature);
            kl.iter().zip(&weight.data).map(|(x, w)| x * w).sum()
        };
        let curvature = along(&case, &run(&device, &case), &case);
        let difference = (mean(h) + mean(-h)) / (h * h);
        let error = (difference - curvature).abs() / curvature.abs().max(1.0);
        assert!(error < 1e-4, "{}: {difference} and {curvature}", case.name());
    }
}

struct Divergence;

impl Visit for Divergence {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        for (case, _, temperature) in fishers(device) {
            for x in kl(device, &case, 0.0, temperature) {
                // The oracle's is a plain sum of logarithms.
                assert!(x.abs() < 1e-14, "{}: {}: {x:e} from itself", device.name, case.name());
            }
            // Far smaller than the rounding of a log-prob: what is left is still the divergence, and not below 0.
            let (h, limit) = (1e-4, 0.02);
            let near = kl(device, &case, h, temperature);
            let want = kl(&oracle(), &case, h, temperature);
            if device.precision == tests::device::Precision::F32 {
                for (near, want) in near.iter().zip(&want) {
                    let error = (near - want).abs();
                    assert!(
                        *near >= 0.0 && error <= limit * want,
                        "{}: {}: {near:e}, {want:e}",
                        device.name,
                        case.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_small_divergence_keeps_its_digits() {
    each(&mut Divergence);
}
