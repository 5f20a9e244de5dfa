//! A prefix tree computes what its sequences compute one by one: the same outputs, and for a shared row the sum of the
//! gradients of its copies.
use kernel::backend::Heads;
use kernel::batch::Segment;
use kernel::mat::Accum;
use tests::backward::backward;
use tests::case::{Call, Case, Kind};
use tests::cases::{Sizes, forward, heads, segments};
use tests::device::{Backend, Device, Precision, Promise};
use tests::devices::{Visit, each};
use tests::host::{Host, Rng, full, pick_rows, row};
use tests::run::run;
use tests::tolerance::{TABLE, report, worst};

/// For every segment the rows of its path, and how many of them are its own.
fn unshared(segments: &[Segment]) -> Vec<(Vec<usize>, usize)> {
    let path = |s: &Segment| {
        let mut rows: Vec<usize> = (s.start..s.start + s.len).collect();
        let mut next = s.parent;
        while let Some(p) = next {
            rows.splice(0..0, segments[p].start..segments[p].start + segments[p].len);
            next = segments[p].parent;
        }
        (rows, s.len)
    };
    segments.iter().map(path).collect()
}

struct Shared;

impl Visit for Shared {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        let (mut lines, mut trees) = (Vec::new(), 0);
        for case in forward(Sizes::Full) {
            if let Call::Attention { segments, heads } = &case.call
                && segments.iter().any(|s| s.parent.is_some())
            {
                trees += 1;
                compare(device, &device.round_case(&case), segments, *heads, &mut lines);
            }
        }
        assert!(trees >= 4, "{trees} trees");
        report(&device.name, &lines);
    }
}

fn compare<B: Backend>(device: &Device<B>, case: &Case, tree: &[Segment], heads: Heads, lines: &mut Vec<String>) {
    let parts = unshared(tree);
    let rows: Vec<usize> = parts.iter().flat_map(|(rows, _)| rows.clone()).collect();
    let apart = Call::Attention {
        segments: segments(&parts.iter().map(|(rows, _)| (rows.len(), None)).collect::<Vec<_>>()),
        heads,
    };
    let mut copies = Case::new(apart, format!("{} unshared", case.label));
    for x in &case.inputs {
        copies = copies.reads(x.name, x.kind, pick_rows(&x.value, &rows));
    }
    let (n, h) = (rows.len(), heads.heads);
    let copies = copies
        .writes("o", Kind::Buf, (n, h * heads.head_dim))
        .saves("lse", Kind::Acc, (n, h));
    // Which of the copies' rows is a row of the tree proper: the last of each path.
    let mut own = Vec::new();
    let mut end = 0;
    for (rows, len) in &parts {
        end += rows.len();
        own.extend(end - len..end);
    }

    let (shared, apart) = (run(device, case), run(device, &copies));
    let tolerance = TABLE
        .iter()
        .find(|t| t.precision == device.precision)
        .expect("a row for every precision");
    let mut expect = |what: &str, got: &Host, want: &Host, limit: f64| {
        let (error, place) = worst(got, want);
        if error > limit {
            lines.push(format!("{}: {what} {place}: {error:.1e}", case.label));
        }
    };
    let forward = match device.promise {
        Promise::BatchInvariant => 0.0,
        Promise::Deterministic => tolerance.buf,
    };
    expect("o", &shared[0], &pick_rows(&apart[0], &own), forward);
    expect("lse", &shared[1], &pick_rows(&apart[1], &own), forward);

    // The loss sees each row of the tree once, so a copy that is not the row proper has no cotangent.
    let u = device.round(Kind::Buf, &Rng::new(&case.label).matrix(shared[0].rows, shared[0].cols));
    let mut u_apart = full(n, u.cols, 0.0);
    for (i, &at) in own.iter().enumerate() {
        u_apart.data[at * u.cols..][..u.cols].copy_from_slice(row(&u, i));
    }
    let none = || full(0, 0, 0.0);
    let gradients = |case: &Case, outputs: &[Host], u: Host| -> Vec<Host> {
        run(device, &backward(case, outputs, &[u, none()], Accum::Replace)[0].case)
    };
    let shared = gradients(case, &shared, u);
    let apart = gradients(&copies, &apart, u_apart);
    // Copies are rounded before they are added here: as many roundings as there are segments.
    let limit = match device.precision {
        Precision::Bf16 => 3.0 * tolerance.buf,
        _ => 2.0 * tolerance.buf,
    };
    for ((name, shared), apart) in ["dq", "dk", "dv"].iter().zip(&shared).zip(&apart) {
        let mut sum = full(shared.rows, shared.cols, 0.0);
        for (at, &i) in rows.iter().enumerate() {
            for (s, x) in sum.data[i * shared.cols..][..shared.cols]
                .iter_mut()
                .zip(row(apart, at))
            {
                *s += x;
            }
        }
        expect(name, shared, &sum, limit);
    }
}

#[test]
fn a_shared_prefix_gives_what_its_copies_give() {
    each(&mut Shared);
}

/// The rows of a segment, not of its siblings, reach a row: moving a sibling's keys must not.
#[test]
fn a_row_does_not_see_its_siblings() {
    struct Blind;
    impl Visit for Blind {
        fn visit<B: Backend>(&mut self, device: &Device<B>) {
            let tree = segments(&[(3, None), (4, Some(0)), (2, Some(0)), (5, None)]);
            let mut rng = Rng::new("siblings");
            let call = Call::Attention {
                segments: tree,
                heads: heads(2, 1, 8),
            };
            let case = Case::new(call, "siblings")
                .reads("q", Kind::Buf, rng.matrix(14, 16))
                .reads("k", Kind::Buf, rng.matrix(14, 8))
                .reads("v", Kind::Buf, rng.matrix(14, 8))
                .writes("o", Kind::Buf, (14, 16))
                .saves("lse", Kind::Acc, (14, 2));
            let case = device.round_case(&case);
            let mut other = case.clone();
            for x in &mut other.inputs[1..] {
                x.value.data[3 * 8..7 * 8].fill(5.0);
            }
            let (a, b) = (run(device, &case), run(device, &other));
            for i in 0..14 {
                let same = row(&a[0], i) == row(&b[0], i) && row(&a[1], i) == row(&b[1], i);
                assert_eq!(same, !(3..7).contains(&i), "{}: row {i}", device.name);
            }
        }
    }
    each(&mut Blind);
}
