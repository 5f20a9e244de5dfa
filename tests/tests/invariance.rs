//! `==`: what a backend promises of its bits. A row's value does not depend on the rows beside it, on the number of
//! threads, on the order of segments, on what the weight was prepared for, or on whether it is computed in training or
//! in decoding.
use std::collections::HashMap;

use kernel::backend::{Heads, Paths, Span};
use kernel::batch::Segment;
use kernel::mat::Use;
use tests::case::{Call, Case, Extent};
use tests::cases::{Checked, Sizes, all, forward};
use tests::device::{Backend, Device, Promise};
use tests::devices::{Visit, each};
use tests::host::{Host, Rng, pick_rows};
use tests::run::{decode, paths, run, run_as};
use tests::tolerance::report;

fn bits(x: &Host) -> Vec<u64> {
    x.data.iter().map(|x| x.to_bits()).collect()
}

/// Whether the operation sees each row by itself, so that a choice of rows is a case of its own.
fn row_wise(case: &Case) -> bool {
    !matches!(
        case.call,
        Call::Attention { .. }
            | Call::AttentionBwd { .. }
            | Call::AttentionJvp { .. }
            | Call::AttentionDecode { .. }
            | Call::Dot
            | Call::Buf
            | Call::Acc
            | Call::Prepare
    ) && case.outputs.iter().any(|y| y.extent == Extent::Rows)
        // Its rows are places to add to, not rows of the batch.
        && !matches!(case.call, Call::ScatterAdd)
}

/// The case of the rows `pick` alone.
fn choose(case: &Case, pick: &[usize]) -> Case {
    let mut case = case.clone();
    for x in case.inputs.iter_mut().filter(|x| x.extent == Extent::Rows) {
        x.value = pick_rows(&x.value, pick);
    }
    for y in case.outputs.iter_mut().filter(|y| y.extent == Extent::Rows) {
        y.initial = pick_rows(&y.initial, pick);
    }
    if !case.index.is_empty() {
        case.index = pick.iter().map(|&i| case.index[i]).collect();
    }
    case
}

struct RowsBeside;

impl Visit for RowsBeside {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        if device.promise != Promise::BatchInvariant {
            return;
        }
        let mut lines = Vec::new();
        for case in all(device, Sizes::Full).iter().map(|c| &c.case).filter(|c| row_wise(c)) {
            let rows = case
                .outputs
                .iter()
                .find(|y| y.extent == Extent::Rows)
                .map_or(0, |y| y.initial.rows);
            let together = run(device, case);
            let shuffled = Rng::new(&case.label).permutation(rows);
            let few = shuffled[..rows.min(3)].to_vec();
            for pick in [vec![0], vec![rows - 1], (0..rows.div_ceil(2)).collect(), few, shuffled] {
                let apart = run(device, &choose(case, &pick));
                for ((y, together), apart) in case.outputs.iter().zip(&together).zip(&apart) {
                    if y.extent == Extent::Rows && bits(&pick_rows(together, &pick)) != bits(apart) {
                        lines.push(format!("{}: {} of rows {pick:?}", case.name(), y.name));
                    }
                }
            }
        }
        report(&device.name, &lines);
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    each(&mut RowsBeside);
}

/// What the first device of each family gave.
#[derive(Default)]
struct Threads(HashMap<String, Vec<Vec<Vec<u64>>>>);

impl Visit for Threads {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let cases = all(device, Sizes::Full);
        let bits_of = |c: &Checked| run(device, &c.case).iter().map(bits).collect();
        let results = || -> Vec<Vec<Vec<u64>>> { cases.iter().map(bits_of).collect() };
        let again = results();
        let first = self.0.entry(device.family.clone()).or_insert_with(results);
        let both = first.iter().zip(&again).zip(cases.iter());
        let lines: Vec<String> = both.filter(|((a, b), _)| a != b).map(|(_, c)| c.case.name()).collect();
        report(&device.name, &lines);
    }
}

#[test]
fn a_second_run_and_any_number_of_threads_give_the_same_bits() {
    each(&mut Threads::default());
}

/// The segments in another order, parents still first; for each of its rows the row it was.
fn reorder(segments: &[Segment], rng: &mut Rng) -> (Vec<Segment>, Vec<usize>) {
    let (mut placed, mut rows): (Vec<Segment>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut new: Vec<Option<usize>> = vec![None; segments.len()];
    while placed.len() < segments.len() {
        let ready = |&i: &usize| new[i].is_none() && segments[i].parent.is_none_or(|p| new[p].is_some());
        let ready: Vec<usize> = (0..segments.len()).filter(ready).collect();
        let next = ready[rng.below(ready.len())];
        let s = segments[next];
        new[next] = Some(placed.len());
        placed.push(Segment {
            start: rows.len(),
            len: s.len,
            parent: s.parent.and_then(|p| new[p]),
        });
        rows.extend(s.start..s.start + s.len);
    }
    (placed, rows)
}

struct Order;

impl Visit for Order {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        if device.promise != Promise::BatchInvariant {
            return;
        }
        let mut lines = Vec::new();
        for Checked { case, .. } in all(device, Sizes::Full).iter() {
            let (Call::Attention { segments, .. }
            | Call::AttentionBwd { segments, .. }
            | Call::AttentionJvp { segments, .. }) = &case.call
            else {
                continue;
            };
            let mut rng = Rng::new(&case.label);
            let (moved, rows) = reorder(segments, &mut rng);
            // The keys of a shared row get a sum over segments, whose order is the order of segments.
            let shared: Vec<usize> = segments.iter().filter_map(|s| s.parent).collect();
            let leaf = |row: usize| {
                let s = segments.iter().position(|s| (s.start..s.start + s.len).contains(&row));
                s.is_some_and(|s| !shared.contains(&s))
            };
            let mut other = choose(case, &rows);
            match &mut other.call {
                Call::Attention { segments, .. }
                | Call::AttentionBwd { segments, .. }
                | Call::AttentionJvp { segments, .. } => *segments = moved,
                _ => unreachable!(),
            }
            let (here, there) = (run(device, case), run(device, &other));
            for ((y, here), there) in case.outputs.iter().zip(&here).zip(&there) {
                let sums = ["dk", "dv"].contains(&y.name);
                let at: Vec<usize> = (0..rows.len()).filter(|&i| !sums || leaf(rows[i])).collect();
                let was: Vec<usize> = at.iter().map(|&i| rows[i]).collect();
                if bits(&pick_rows(here, &was)) != bits(&pick_rows(there, &at)) {
                    lines.push(format!("{}: {}", case.name(), y.name));
                }
            }
        }
        report(&device.name, &lines);
    }
}

#[test]
fn a_row_does_not_depend_on_the_order_of_segments() {
    each(&mut Order);
}

/// Decodes the rows `pick`, with row i of k and v in slot `slots[i]` and every span cut where `cut` says.
fn decode_rows<B: Backend>(
    device: &Device<B>,
    case: &Case,
    (tree, heads): (&[Segment], Heads),
    slots: &[u32],
    pick: &[usize],
    mut cut: impl FnMut() -> bool,
) -> Host {
    let all = paths(tree, slots);
    let mut chosen = Paths::new();
    for &i in pick {
        let mut spans: Vec<Span> = Vec::new();
        for span in all.row(i) {
            for start in span.start..span.start + span.len {
                match spans.last_mut() {
                    Some(last) if last.start + last.len == start && !cut() => last.len += 1,
                    _ => spans.push(Span { start, len: 1 }),
                }
            }
        }
        chosen.push(spans);
    }
    let q = device.input_buf(&pick_rows(&case.inputs[0].value, pick));
    let mut o = device.output_buf(&pick_rows(&case.outputs[0].initial, pick));
    decode(
        device,
        &mut o,
        &q,
        (&case.inputs[1].value, &case.inputs[2].value),
        slots,
        &chosen,
        heads,
    );
    device.read_buf("decode", o)
}

struct Decoding;

impl Visit for Decoding {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        if device.promise != Promise::BatchInvariant {
            return;
        }
        let mut lines = Vec::new();
        for case in forward(Sizes::Full) {
            let Call::Attention { segments, heads } = &case.call else {
                continue;
            };
            let case = device.round_case(&case);
            let training = &run(device, &case)[0];
            let n = training.rows;
            let mut rng = Rng::new(&case.label);
            let scattered: Vec<u32> = rng.permutation(n).iter().map(|&i| i as u32).collect();
            let straight: Vec<u32> = (0..n as u32).collect();
            let offset: Vec<u32> = (7..n as u32 + 7).collect();
            let every: Vec<usize> = (0..n).collect();
            let few = rng.permutation(n)[..n.min(3)].to_vec();
            for (what, slots, pick) in [
                ("all rows", &straight, &every),
                ("a row alone", &straight, &vec![n - 1]),
                ("some rows", &offset, &few),
                ("a scattered cache", &scattered, &every),
                ("some rows of a scattered cache", &scattered, &few),
            ] {
                let mut cuts = Rng::new(what);
                for cut in [0.0, 0.3] {
                    let o = decode_rows(device, &case, (segments, *heads), slots, pick, || cuts.uniform() < cut);
                    if bits(&o) != bits(&pick_rows(training, pick)) {
                        lines.push(format!("{}: {what}, {cut} of the spans cut", case.name()));
                    }
                }
            }
        }
        report(&device.name, &lines);
    }
}

#[test]
fn decoding_gives_the_bits_of_training() {
    each(&mut Decoding);
}

struct Uses;

impl Visit for Uses {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let mut lines = Vec::new();
        for case in forward(Sizes::Full) {
            if !matches!(case.call, Call::Embed | Call::Linear { .. }) {
                continue;
            }
            let case = device.round_case(&case);
            let of = |usage| -> Vec<Vec<u64>> { run_as(device, &case, usage).iter().map(bits).collect() };
            if of(Use::Training) != of(Use::Inference) {
                lines.push(case.name());
            }
        }
        report(&device.name, &lines);
    }
}

#[test]
fn a_weight_prepared_for_inference_gives_the_bits_of_one_for_training() {
    each(&mut Uses);
}
