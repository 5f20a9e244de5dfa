use kernel::batch::Segment;

use super::{List, ancestors, descendants};

fn segment(start: usize, len: usize, parent: Option<usize>) -> Segment {
    Segment { start, len, parent }
}

/// A prompt, its completion right behind it, a stranger, the completion's continuation, a second completion.
fn tree() -> Vec<Segment> {
    vec![
        segment(0, 5, None),
        segment(5, 3, Some(0)),
        segment(8, 2, None),
        segment(10, 4, Some(1)),
        segment(14, 1, Some(0)),
    ]
}

#[test]
fn runs_that_touch_are_one_span() {
    let paths = ancestors(&tree());
    assert_eq!(paths[1], [[0, 8]]);
    assert_eq!(paths[2], [[8, 10]]);
    assert_eq!(paths[3], [[0, 8], [10, 14]]);
    assert_eq!(paths[4], [[0, 5], [14, 15]]);
    let below = descendants(&tree());
    assert_eq!(below[0], [[0, 8], [10, 15]]);
    assert_eq!(below[1], [[5, 8], [10, 14]]);
    assert_eq!(below[4], [[14, 15]]);
}

#[test]
fn every_pair_of_a_query_and_a_key_is_met_from_both_sides() {
    let segments = tree();
    for rows in [1, 2, 3, 32] {
        let queries = List::queries(&segments, &ancestors(&segments), rows);
        let keys = List::keys(&segments, &descendants(&segments), rows);
        let mut from_queries = Vec::new();
        for &[start, end, first, last] in &queries.tiles {
            for &[from, to] in &queries.spans[first as usize..last as usize] {
                from_queries.extend((start..end).flat_map(|i| (from..to.min(i + 1)).map(move |j| (i, j))));
            }
        }
        let mut from_keys = Vec::new();
        for &[start, end, first, last] in &keys.tiles {
            for &[from, to] in &keys.spans[first as usize..last as usize] {
                from_keys.extend((start..end).flat_map(|j| (from.max(j)..to).map(move |i| (i, j))));
            }
        }
        from_queries.sort_unstable();
        from_keys.sort_unstable();
        // Sums of the paths' lengths: 1..=5, 6..=8, 1..=2, 9..=12, 6.
        assert_eq!(from_queries.len(), 15 + 21 + 3 + 42 + 6);
        assert_eq!(from_queries, from_keys);
    }
}

#[test]
fn the_longest_tiles_come_first() {
    let segments = [segment(0, 6, None)];
    let starts = |list: List| list.tiles.iter().map(|t| t[0]).collect::<Vec<_>>();
    assert_eq!(starts(List::queries(&segments, &ancestors(&segments), 2)), [4, 2, 0]);
    assert_eq!(starts(List::keys(&segments, &descendants(&segments), 2)), [0, 2, 4]);
}
