use half::bf16;

use crate::Cpu;
use crate::fast::tests::{Backend, buf, numbers, read_buf};
use crate::fast::{Isa, Settings};

/// SwiGLU forward and backward in one pass, and in two.
fn both<B: Backend>(b: &B) -> [Vec<Vec<f64>>; 2] {
    const ROWS: usize = 37;
    const COLS: usize = 75;
    let [dy, gate, up] = [1, 2, 3].map(|seed| {
        let x: Vec<f64> = numbers(seed, ROWS * COLS).iter().map(|x| 8.0 * x).collect();
        buf(b, &x, COLS)
    });
    [true, false].map(|together| {
        let mut out = [(); 3].map(|()| b.buf(ROWS, COLS).unwrap());
        let [y, d_gate, d_up] = &mut out;
        if together {
            b.swiglu_fwd_bwd(y, d_gate, d_up, &dy, &gate, &up);
        } else {
            b.swiglu(y, &gate, &up);
            b.swiglu_bwd(d_gate, d_up, &dy, &gate, &up);
        }
        out.iter().map(|x| read_buf(b, x)).collect()
    })
}

#[test]
fn swiglu_in_one_pass_has_the_bits_of_two() {
    for isa in Isa::available() {
        let settings = Settings { threads: 2, isa };
        for [one, two] in [both(&Cpu::<f32>::new(settings)), both(&Cpu::<bf16>::new(settings))] {
            assert!(one.iter().flatten().all(|x| x.is_finite()));
            assert!(one.iter().all(|x| x.iter().any(|&x| x != 0.0)));
            assert_eq!(one, two, "{}", isa.name());
        }
    }
}
