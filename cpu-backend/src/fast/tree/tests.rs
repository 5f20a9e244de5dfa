use super::*;
use crate::fast::Isa;
use crate::fast::tests::segments;

/// The rows of segment i's path, from its root to its own end.
fn path(segments: &[Segment], i: usize) -> Vec<u32> {
    let s = &segments[i];
    let mut rows = s.parent.map_or_else(Vec::new, |p| path(segments, p));
    rows.extend((s.start..s.start + s.len).map(|row| row as u32));
    rows
}

#[test]
fn panels_hold_the_positions_of_every_path_in_order() {
    // Children that begin within a panel, at its end and two in one panel; a chain of segments shorter than a panel.
    let parts = [
        (37, None),
        (30, Some(0)),
        (1, Some(0)),
        (3, Some(2)),
        (2, Some(3)),
        (70, Some(4)),
        (32, None),
        (5, Some(6)),
    ];
    let segments = segments(&parts);
    for isa in Isa::available() {
        let tree = Tree::new(Level::new(isa), &segments);
        for (i, node) in tree.nodes.iter().enumerate() {
            for own in 1..=node.len {
                let mut found = Vec::new();
                let spans: Vec<_> = tree.spans(node, own).collect();
                for (n, &(panel, len)) in spans.iter().enumerate() {
                    assert!(len % tree.width == 0 || n + 1 == spans.len(), "{spans:?}");
                    let lanes = (0..len.div_ceil(tree.width)).flat_map(|j| tree.lanes(panel + j));
                    found.extend(lanes.take(len).copied());
                }
                let rows = path(&segments, i);
                assert_eq!(found, rows[..node.offset + own], "{}, segment {i}", isa.name());
            }
        }
        let mut places = 0;
        for row in 0..tree.rows {
            for &lane in tree.places(row) {
                let lane = lane as usize;
                assert_eq!(tree.lanes(lane / tree.width)[lane % tree.width], row as u32);
            }
            assert!(!tree.places(row).is_empty());
            places += tree.places(row).len();
        }
        let held = (0..tree.panels())
            .flat_map(|panel| tree.lanes(panel))
            .filter(|&&row| row != NONE);
        assert_eq!(held.count(), places, "{}", isa.name());
    }
}
