use kernel::backend::{Heads, Qkv, QkvMut};

use crate::fast::tests::{Backend, Scenario, acc, buf, check, numbers, read_acc, read_buf, segments};

/// Attention and its gradient on a tree that is deeper than a tile and wider than a panel.
struct Long {
    heads: Heads,
}

impl Scenario for Long {
    fn run<B: Backend>(&self, b: &B) -> Vec<Vec<f64>> {
        let tree = segments(&[(201, None), (130, Some(0)), (1, Some(0)), (77, Some(1)), (59, None)]);
        let n = 468;
        let Heads {
            heads,
            kv_heads,
            head_dim,
        } = self.heads;
        let (q_cols, k_cols) = (heads * head_dim, kv_heads * head_dim);
        let q = buf(b, &numbers(1, n * q_cols), q_cols);
        let k = buf(b, &numbers(2, n * k_cols), k_cols);
        let v = buf(b, &numbers(3, n * k_cols), k_cols);
        let d_o = buf(b, &numbers(4, n * q_cols), q_cols);
        let mut o = b.buf(n, q_cols).unwrap();
        let mut lse = b.acc(n, heads).unwrap();
        let tree = b.tree(&tree).unwrap();
        let qkv = || Qkv { q: &q, k: &k, v: &v };
        b.attention(&mut o, &mut lse, qkv(), &tree, self.heads);
        let (out, saved) = (read_buf(b, &o), read_acc(b, &lse));
        // What the forward pass saved is made up, so that all precisions start alike.
        let o = buf(b, &numbers(5, n * q_cols), q_cols);
        let lse: Vec<f64> = numbers(6, n * heads).iter().map(|x| 5.0 + x).collect();
        let lse = acc(b, &lse, heads);
        let mut dq = b.buf(n, q_cols).unwrap();
        let mut dk = b.buf(n, k_cols).unwrap();
        let mut dv = b.buf(n, k_cols).unwrap();
        let d = QkvMut {
            q: &mut dq,
            k: &mut dk,
            v: &mut dv,
        };
        b.attention_bwd(d, &d_o, &o, &lse, qkv(), &tree, self.heads);
        vec![out, saved, read_buf(b, &dq), read_buf(b, &dk), read_buf(b, &dv)]
    }
}

#[test]
fn a_deep_tree_gives_what_the_oracle_gives() {
    for (heads, kv_heads, head_dim) in [(3, 1, 64), (4, 2, 24), (1, 1, 128)] {
        check(
            &Long {
                heads: Heads {
                    heads,
                    kv_heads,
                    head_dim,
                },
            },
            1e-5,
            1e-2,
            2e-2,
        );
    }
}
