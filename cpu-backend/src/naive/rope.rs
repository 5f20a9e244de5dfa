//! The rotary position embedding (Su et al. 2021), pairs half a head apart, as Hugging Face has it.
use kernel::mat::{Direction, check_shape};

use super::rows::{Matrix, Rows};

/// Each pair (a, b) = (x_i, x_{i + D/2}) of each head turns by its angle, or back by it.
#[track_caller]
pub(super) fn rope(x: &mut Matrix, table: &Matrix, positions: &[u32], head_dim: usize, direction: Direction) {
    let half = head_dim / 2;
    check_shape("rope", "positions, as a column,", (positions.len(), 1), (x.rows, 1));
    check_shape("rope", "table", table.shape(), (table.rows, head_dim));
    assert!(
        head_dim.is_multiple_of(2) && x.cols.is_multiple_of(head_dim),
        "rope: {} columns are not whole heads of an even {head_dim}",
        x.cols
    );
    for (i, &position) in positions.iter().enumerate() {
        let position = position as usize;
        assert!(
            position < table.rows,
            "rope: position {position} is outside the table of {}",
            table.rows
        );
        let (cos, sin) = table.row(position).split_at(half);
        for head in x.row_mut(i).chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(half);
            for j in 0..half {
                let sin = match direction {
                    Direction::Forward => sin[j],
                    Direction::Inverse => -sin[j],
                };
                (a[j], b[j]) = (a[j] * cos[j] - b[j] * sin, b[j] * cos[j] + a[j] * sin);
            }
        }
    }
}
