use super::*;
use quickcheck::quickcheck;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    max_length: usize,
    strategy: Strategy,
    lengths: Vec<usize>,
    bins: Vec<Vec<(usize, usize, usize)>>,
}

#[test]
fn as_trl_packs() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/golden/parquet/packing.json")).unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let (bins, cut) = pack(&case.lengths, case.max_length, case.strategy);
        let expected: Vec<Vec<Piece>> = case
            .bins
            .iter()
            .map(|bin| {
                bin.iter()
                    .map(|&(sample, start, end)| Piece {
                        sample,
                        tokens: start..end,
                    })
                    .collect()
            })
            .collect();
        let what = format!("{:?} at {}", case.strategy, case.max_length);
        assert_eq!(bins, expected, "{what}");
        let lost: usize = case.lengths.iter().map(|n| n.saturating_sub(case.max_length)).sum();
        assert_eq!(
            cut.tokens,
            if case.strategy == Strategy::Bfd { lost } else { 0 },
            "{what}"
        );
    }
}

/// Whether the bins hold every token of every sample (up to `kept` of each) exactly once, and none is too long or empty.
fn whole(bins: &[Vec<Piece>], lengths: &[usize], max: usize, kept: usize) -> bool {
    let mut seen: Vec<Vec<u8>> = lengths.iter().map(|n| vec![0; *n]).collect();
    for bin in bins {
        let len: usize = bin.iter().map(|p| p.tokens.len()).sum();
        if len == 0 || len > max {
            return false;
        }
        for piece in bin {
            seen[piece.sample][piece.tokens.clone()]
                .iter_mut()
                .for_each(|t| *t += 1);
        }
    }
    seen.iter()
        .all(|tokens| tokens.iter().enumerate().all(|(i, n)| *n == u8::from(i < kept)))
}

quickcheck! {
    fn every_token_once(lengths: Vec<u8>, max: u8) -> bool {
        let max = usize::from(max) + 1;
        let lengths: Vec<usize> = lengths.into_iter().map(usize::from).collect();
        let bfd = pack(&lengths, max, Strategy::Bfd).0;
        let split = pack(&lengths, max, Strategy::BfdSplit).0;
        let stream = pack(&lengths, max, Strategy::Wrapped).0;
        let total: usize = lengths.iter().sum();
        let once = bfd.iter().flatten().filter(|p| p.tokens.start != 0).count() == 0;
        once && whole(&bfd, &lengths, max, max)
            && whole(&split, &lengths, max, usize::MAX)
            && whole(&stream, &lengths, max, usize::MAX)
            && stream.len() == total.div_ceil(max)
    }

    fn truncation_keeps_what_fits(lengths: Vec<u8>, max: u8) -> bool {
        let max = usize::from(max);
        let lengths: Vec<usize> = lengths.into_iter().map(usize::from).collect();
        let (start, cut) = truncate(&lengths, max, TruncationMode::KeepStart);
        let (end, _) = truncate(&lengths, max, TruncationMode::KeepEnd);
        let kept: usize = start.iter().map(ExactSizeIterator::len).sum();
        start.iter().zip(&end).zip(&lengths).all(|((s, e), n)| s.start == 0 && e.end == *n && s.len() == e.len() && s.len() == max.min(*n))
            && kept + cut.tokens == lengths.iter().sum::<usize>()
    }
}

#[test]
fn truncation_is_counted_and_said() {
    let (kept, cut) = truncate(&[3, 5, 9, 4], 4, TruncationMode::KeepEnd);
    assert_eq!(kept, [0..3, 1..5, 5..9, 0..4]);
    assert_eq!(cut, Truncation { samples: 2, tokens: 6 });
    assert_eq!(
        cut.warning(4).unwrap(),
        "2 samples are longer than max_length = 4 and were cut; 6 tokens are lost"
    );
    assert_eq!(Truncation::default().warning(4), None);
    assert_eq!(pack(&[3, 5, 9, 4], 4, Strategy::Bfd).1, cut);
}

#[test]
#[should_panic(expected = "pack: max_length is 0")]
fn no_room() {
    pack(&[1], 0, Strategy::Bfd);
}
