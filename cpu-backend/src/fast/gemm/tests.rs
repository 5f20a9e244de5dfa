use super::*;

#[test]
fn tiles_cover_the_rows_evenly() {
    for most in [1, 4, 6, 12] {
        for rows in 0..100 {
            let all: Vec<_> = tiles(rows, most).collect();
            let mut next = 0;
            for &(first, height) in &all {
                assert_eq!(first, next);
                assert!((1..=most).contains(&height));
                next += height;
            }
            assert_eq!(next, rows);
            assert_eq!(all.len(), rows.div_ceil(most));
            let heights = all.iter().map(|t| t.1);
            assert!(heights.clone().max().unwrap_or(0) - heights.min().unwrap_or(0) <= 1);
        }
    }
}
