use kernel::backend::{Paths, Span};

use super::{LONGEST, Lists, SHORTEST, positions};

fn paths(rows: &[&[(usize, usize)]]) -> Paths {
    let mut paths = Paths::new();
    for row in rows {
        paths.push(row.iter().map(|&(start, len)| Span { start, len }));
    }
    paths
}

#[test]
fn a_task_covers_its_positions_in_order() {
    let paths = paths(&[&[(10, 300), (900, 3), (0, 5)], &[], &[(7, 1)]]);
    let lists = Lists::new(&paths, 903);
    let expected = Lists {
        tasks: vec![[0, 0, 1, 256], [0, 1, 4, 52], [1, 4, 4, 0], [2, 4, 5, 1]],
        pieces: vec![[10, 0], [266, 0], [900, 44], [0, 47], [7, 0]],
        begin: vec![0, 2, 3, 4],
    };
    assert_eq!(lists, expected);
}

#[test]
fn a_long_path_has_longer_tasks() {
    assert_eq!(positions(1), SHORTEST);
    assert_eq!(positions(4096), SHORTEST);
    assert_eq!(positions(8192), 512);
    assert_eq!(positions(1 << 20), LONGEST);
}

#[test]
#[should_panic(expected = "of 902 cache rows")]
fn a_path_stays_in_the_cache() {
    Lists::new(&paths(&[&[(900, 3)]]), 902);
}
