use super::super::{Element, Fragment, Matrix, Shape};

const M16N8K16: Shape = Shape { m: 16, n: 8, k: 16 };

/// Row and column of every element of every lane against a formula of the ISA in groupID and threadID_in_group.
#[track_caller]
fn check(fragment: Fragment, elements: usize, formula: impl Fn(usize, usize, usize) -> (usize, usize)) {
    assert_eq!(fragment.elements(), elements);
    for lane in 0..32 {
        for i in 0..elements {
            let (group, t) = (lane >> 2, lane % 4);
            assert_eq!(
                fragment.place(lane, i),
                formula(group, t, i),
                "lane {lane}, element {i}"
            );
        }
    }
}

fn a(m: usize, n: usize, k: usize, element: Element) -> Fragment {
    Fragment {
        matrix: Matrix::A,
        shape: Shape { m, n, k },
        element,
    }
}

fn b(m: usize, n: usize, k: usize, element: Element) -> Fragment {
    Fragment {
        matrix: Matrix::B,
        ..a(m, n, k, element)
    }
}

fn c(m: usize, n: usize, k: usize, element: Element) -> Fragment {
    Fragment {
        matrix: Matrix::C,
        ..a(m, n, k, element)
    }
}

/// The figure of A of m16n8k16 for 16-bit types: the lane and element that hold rows 0, 1 and 8, columns 0 to 15.
#[test]
fn figure_of_m16n8k16() {
    let row0 = [
        "T0:a0", "T0:a1", "T1:a0", "T1:a1", "T2:a0", "T2:a1", "T3:a0", "T3:a1", "T0:a4", "T0:a5", "T1:a4", "T1:a5",
        "T2:a4", "T2:a5", "T3:a4", "T3:a5",
    ];
    let row1 = [
        "T4:a0", "T4:a1", "T5:a0", "T5:a1", "T6:a0", "T6:a1", "T7:a0", "T7:a1", "T4:a4", "T4:a5", "T5:a4", "T5:a5",
        "T6:a4", "T6:a5", "T7:a4", "T7:a5",
    ];
    let row8 = [
        "T0:a2", "T0:a3", "T1:a2", "T1:a3", "T2:a2", "T2:a3", "T3:a2", "T3:a3", "T0:a6", "T0:a7", "T1:a6", "T1:a7",
        "T2:a6", "T2:a7", "T3:a6", "T3:a7",
    ];
    let fragment = Fragment {
        matrix: Matrix::A,
        shape: M16N8K16,
        element: Element::Bf16,
    };
    for (row, cells) in [(0, row0), (1, row1), (8, row8)] {
        for (column, cell) in cells.iter().enumerate() {
            let (lane, i) = cell[1..].split_once(":a").unwrap();
            assert_eq!(
                fragment.place(lane.parse().unwrap(), i.parse().unwrap()),
                (row, column),
                "{cell}"
            );
        }
    }
    // Of B: the first column, rows 0 to 15; of C: the first row and row 8.
    let column0 = [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
        (3, 0),
        (3, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 2),
        (2, 3),
        (3, 2),
        (3, 3),
    ];
    let fragment = Fragment {
        matrix: Matrix::B,
        ..fragment
    };
    for (row, (lane, i)) in column0.into_iter().enumerate() {
        assert_eq!(fragment.place(lane, i), (row, 0));
        assert_eq!(fragment.place(lane + 28, i), (row, 7));
    }
    let fragment = Fragment {
        matrix: Matrix::C,
        element: Element::F32,
        ..fragment
    };
    for (column, (lane, i)) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
        .into_iter()
        .enumerate()
    {
        assert_eq!(fragment.place(lane, i), (0, column));
        assert_eq!(fragment.place(lane, i + 2), (8, column));
        assert_eq!(fragment.place(lane + 28, i + 2), (15, column));
    }
}

#[test]
fn sixteen_bits() {
    for element in [Element::F16, Element::Bf16] {
        check(a(16, 8, 16, element), 8, |group, t, i| {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, if i < 4 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 })
        });
        check(b(16, 8, 16, element), 4, |group, t, i| {
            (if i < 2 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 }, group)
        });
        check(a(16, 8, 8, element), 4, |group, t, i| {
            (if i < 2 { group } else { group + 8 }, t * 2 + (i & 1))
        });
        check(b(16, 8, 8, element), 2, |group, t, i| (t * 2 + i, group));
    }
    for element in [Element::F16, Element::F32, Element::S32] {
        check(c(16, 8, 16, element), 4, |group, t, i| {
            (if i < 2 { group } else { group + 8 }, t * 2 + (i & 1))
        });
    }
    assert_eq!(c(16, 8, 16, Element::F16).registers(), 2);
    assert_eq!(c(16, 8, 16, Element::F32).registers(), 4);
    assert_eq!(a(16, 8, 16, Element::F16).registers(), 4);
    assert_eq!(b(16, 8, 16, Element::F16).registers(), 2);
}

#[test]
fn tf32() {
    check(a(16, 8, 4, Element::Tf32), 2, |group, t, i| {
        (if i == 0 { group } else { group + 8 }, t)
    });
    check(b(16, 8, 4, Element::Tf32), 1, |group, t, _| (t, group));
    check(a(16, 8, 8, Element::Tf32), 4, |group, t, i| {
        (
            if i == 0 || i == 2 { group } else { group + 8 },
            if i < 2 { t } else { t + 4 },
        )
    });
    check(b(16, 8, 8, Element::Tf32), 2, |group, t, i| {
        (if i == 0 { t } else { t + 4 }, group)
    });
}

#[test]
fn f64() {
    check(a(8, 8, 4, Element::F64), 1, |group, t, _| (group, t));
    check(b(8, 8, 4, Element::F64), 1, |group, t, _| (t, group));
    check(c(8, 8, 4, Element::F64), 2, |group, t, i| (group, t * 2 + (i & 1)));
    check(a(16, 8, 4, Element::F64), 2, |group, t, i| {
        (if i == 0 { group } else { group + 8 }, t)
    });
    check(a(16, 8, 8, Element::F64), 4, |group, t, i| {
        (
            if i == 0 || i == 2 { group } else { group + 8 },
            if i < 2 { t } else { t + 4 },
        )
    });
    check(a(16, 8, 16, Element::F64), 8, |group, t, i| {
        (if i % 2 == 0 { group } else { group + 8 }, i / 2 * 4 + t)
    });
    check(b(16, 8, 16, Element::F64), 4, |group, t, i| (t + i * 4, group));
    check(c(16, 8, 16, Element::F64), 4, |group, t, i| {
        (if i < 2 { group } else { group + 8 }, t * 2 + (i & 1))
    });
}

#[test]
fn eight_bits() {
    for element in [Element::S8, Element::U8] {
        check(a(8, 8, 16, element), 4, |group, t, i| (group, t * 4 + i));
        check(b(8, 8, 16, element), 4, |group, t, i| (t * 4 + i, group));
        check(a(16, 8, 16, element), 8, |group, t, i| {
            (if i < 4 { group } else { group + 8 }, t * 4 + (i & 3))
        });
        check(b(16, 8, 16, element), 4, |group, t, i| (t * 4 + i, group));
        check(a(16, 8, 32, element), 16, |group, t, i| {
            let row = if i < 4 || (8..12).contains(&i) {
                group
            } else {
                group + 8
            };
            (row, if i < 8 { t * 4 + (i & 3) } else { t * 4 + (i & 3) + 16 })
        });
        check(b(16, 8, 32, element), 8, |group, t, i| {
            (if i < 4 { t * 4 + (i & 3) } else { t * 4 + (i & 3) + 16 }, group)
        });
        assert_eq!(a(16, 8, 32, element).registers(), 4);
    }
    check(c(8, 8, 16, Element::S32), 2, |group, t, i| (group, t * 2 + i));
}
