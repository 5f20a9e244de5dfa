use kernel::backend::{HeadCotangent, HeadOut};

use crate::fast::tests::{Backend, Scenario, acc, buf, check, numbers, read_acc, read_buf, weight};

/// More rows than are done at a time, and a vocabulary of more blocks than there are groups.
struct Head {
    rows: usize,
    hidden: usize,
    vocab: usize,
}

impl Scenario for Head {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f64>> {
        let Self { rows, hidden, vocab } = *self;
        let h = buf(b, &numbers(1, rows * hidden), hidden);
        let w = weight(b, &numbers(2, vocab * hidden), hidden);
        let targets: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocab) as u32).collect();
        let targets = b.index(&targets).unwrap();
        let mut outs = [0; 4].map(|_| b.acc(rows, 1).unwrap());
        let [logp, entropy, lse, best] = &mut outs;
        b.head(
            HeadOut {
                logp,
                entropy,
                lse,
                best,
            },
            &h,
            &w,
            &targets,
            0.8,
        );
        let results = outs.each_ref().map(|x| read_acc(b, x));
        let [_, entropy, lse, _] = &outs;
        let (dlogp, dentropy) = (acc(b, &numbers(3, rows), 1), acc(b, &numbers(4, rows), 1));
        let cotangent = HeadCotangent {
            dlogp: &dlogp,
            dentropy: &dentropy,
            lse,
            entropy,
        };
        let mut dh = b.buf(rows, hidden).unwrap();
        let mut dw = acc(b, &numbers(5, vocab * hidden), hidden);
        b.head_bwd(&mut dh, &mut dw, cotangent, &h, &w, &targets, 0.8);
        let mut all = results.to_vec();
        all.extend([read_buf(b, &dh), read_acc(b, &dw)]);
        all
    }
}

#[test]
fn the_head_gives_what_the_oracle_gives() {
    for (rows, hidden, vocab) in [(1, 33, 130), (300, 17, 999), (1100, 8, 257), (3, 16, 5003)] {
        check(&Head { rows, hidden, vocab }, 1e-5, 1e-2, 2e-2);
    }
}
