//! proximal beside the crates that do the same work on a CPU: gemm, faer and candle, by turns, on as many threads.
//!
//! `cargo bench --manifest-path benches/rust-peers/Cargo.toml`, from the repository's root; `-- FILTER` for the cases whose names contain it;
//! `PROXIMAL_THREADS` and `PROXIMAL_CPU` as everywhere. A weight is (out, in), row-major, as models have it: y = x w'. proximal
//! multiplies by a weight that is prepared once an optimizer step; "and prepare" does that for every product. candle makes a new tensor for every
//! result, as its users cannot but do. candle has no product of bf16 on CPUs: it widens both matrices at every call.
use candle_core::{DType, Device, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use cpu_backend::{Cpu, Settings};
use faer::linalg::matmul::matmul;
use faer::{MatMut, MatRef, Par};
use gemm::{Parallelism, gemm};
use half::bf16;
use kernel::backend::{Heads, Memory, Ops, Qkv};
use kernel::batch::Segment;
use kernel::config::{Rope, RopeScaling};
use kernel::mat::{Accum, Direction, Mat, Use};
use rust_peers::{Side, by_turns, numbers, ok};

/// Rows of activations.
const ROWS: usize = 512;
/// How near f32 results are, and bf16 results.
const NEAR: f32 = 2e-5;
const NEAR_BF16: f32 = 3e-2;

/// What a backend needs to be here.
trait Ours: Ops<Real = f32> {}
impl<B: Ops<Real = f32>> Ours for B {}

fn acc<B: Ours>(b: &B, x: &[f32], rows: usize) -> Mat<B::Acc> {
    let mut m = ok(b.acc(rows, x.len() / rows));
    ok(b.upload(&mut m, x));
    m
}

fn buf<B: Ours>(b: &B, x: &[f32], rows: usize) -> Mat<B::Buf> {
    let mut m = ok(b.buf(rows, x.len() / rows));
    b.narrow(&mut m, &acc(b, x, rows));
    m
}

/// Where it is wanted, what a matrix holds.
fn give<B: Ours>(b: &B, x: &Mat<B::Buf>, place: Option<&mut Vec<f32>>) {
    if let Some(place) = place {
        let mut wide = ok(b.acc(x.rows, x.cols));
        b.widen(&mut wide, x);
        place.resize(x.len(), 0.0);
        ok(b.download(place, &wide));
    }
}

fn tensor(x: &[f32], shape: &[usize], dtype: DType) -> Tensor {
    ok(ok(Tensor::from_slice(x, shape, &Device::Cpu)).to_dtype(dtype))
}

fn give_tensor(y: &Tensor, place: Option<&mut Vec<f32>>) {
    if let Some(place) = place {
        *place = ok(y
            .flatten_all()
            .and_then(|y| y.to_dtype(DType::F32))
            .and_then(|y| y.to_vec1()));
    }
}

/// y (m, n) = x (m, k) w', w (n, k): both sides of proximal.
fn own_products<'a, B: Ours>(b: &'a B, (n, k, m): (usize, usize, usize)) -> [Side<'a>; 2] {
    let weight = || {
        let mut w = ok(b.weight(n, k, Use::Training));
        let master = acc(b, &numbers(2, n * k), n);
        b.prepare(&mut w, &master);
        (buf(b, &numbers(1, m * k), m), w, master, ok(b.buf(m, n)))
    };
    let (x, w, _, mut y) = weight();
    let prepared = Side::new("proximal", move |place| {
        b.linear(&mut y, &x, &w, None, Accum::Replace);
        give(b, &y, place);
    });
    let (x, mut w, master, mut y) = weight();
    let prepares = Side::new("proximal, and prepare", move |place| {
        b.prepare(&mut w, &master);
        b.linear(&mut y, &x, &w, None, Accum::Replace);
        give(b, &y, place);
    });
    [prepared, prepares]
}

fn candle_product<'a>((n, k, m): (usize, usize, usize), dtype: DType) -> Side<'a> {
    let x = tensor(&numbers(1, m * k), &[m, k], dtype);
    let w = ok(tensor(&numbers(2, n * k), &[n, k], dtype).t());
    Side::new("candle", move |place| give_tensor(&ok(x.matmul(&w)), place))
}

fn product(name: &str, b: &Cpu<f32>, threads: usize, shape: (usize, usize, usize)) {
    let (n, k, m) = shape;
    let (x, w) = (&numbers(1, m * k), &numbers(2, n * k));
    let [prepared, prepares] = own_products(b, shape);
    let mut y = vec![0.0_f32; m * n];
    let by_gemm = Side::new("gemm", move |place| {
        let (across, deep) = (n as isize, k as isize);
        // SAFETY: the three matrices are (m, n), (m, k) and, read as its transpose, (n, k), row-major, and as long as that.
        unsafe {
            gemm(
                m,
                n,
                k,
                y.as_mut_ptr(),
                1,
                across,
                false,
                x.as_ptr(),
                1,
                deep,
                w.as_ptr(),
                deep,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(threads),
            );
        }
        if let Some(place) = place {
            place.clone_from(&y);
        }
    });
    let mut y = vec![0.0_f32; m * n];
    let by_faer = Side::new("faer", move |place| {
        let to = MatMut::from_row_major_slice_mut(&mut y, m, n);
        let (x, w) = (
            MatRef::from_row_major_slice(x, m, k),
            MatRef::from_row_major_slice(w, n, k),
        );
        matmul(to, faer::Accum::Replace, x, w.transpose(), 1.0, Par::rayon(threads));
        if let Some(place) = place {
            place.clone_from(&y);
        }
    });
    let mut sides = [prepared, prepares, by_gemm, by_faer, candle_product(shape, DType::F32)];
    by_turns(name, (2 * m * n * k, "GFLOP/s"), NEAR, &mut sides);
}

fn product_bf16(name: &str, b: &Cpu<bf16>, shape: (usize, usize, usize)) {
    let [prepared, prepares] = own_products(b, shape);
    let mut sides = [prepared, prepares, candle_product(shape, DType::BF16)];
    by_turns(
        name,
        (2 * shape.0 * shape.1 * shape.2, "GFLOP/s"),
        NEAR_BF16,
        &mut sides,
    );
}

fn rmsnorm<B: Ours>(name: &str, b: &B, dtype: DType, cols: usize) {
    let (x, w) = (numbers(1, ROWS * cols), numbers(2, cols));
    let (own_x, own_w) = (buf(b, &x, ROWS), buf(b, &w, 1));
    let (mut y, mut rstd) = (ok(b.buf(ROWS, cols)), ok(b.acc(ROWS, 1)));
    let ours = Side::new("proximal", move |place| {
        b.rmsnorm(&mut y, &mut rstd, &own_x, &own_w, 1e-5);
        give(b, &y, place);
    });
    let (x, w) = (tensor(&x, &[ROWS, cols], dtype), tensor(&w, &[cols], dtype));
    let candle = Side::new("candle", move |place| {
        give_tensor(&ok(candle_nn::ops::rms_norm(&x, &w, 1e-5)), place);
    });
    let (width, near) = of(dtype);
    by_turns(name, (2 * ROWS * cols * width, "GB/s"), near, &mut [ours, candle]);
}

/// Bytes of a number, and how near results are.
fn of(dtype: DType) -> (usize, f32) {
    if dtype == DType::F32 { (4, NEAR) } else { (2, NEAR_BF16) }
}

fn swiglu<B: Ours>(name: &str, b: &B, dtype: DType, cols: usize) {
    let (gate, up) = (numbers(1, ROWS * cols), numbers(2, ROWS * cols));
    let (own_gate, own_up) = (buf(b, &gate, ROWS), buf(b, &up, ROWS));
    let mut y = ok(b.buf(ROWS, cols));
    let ours = Side::new("proximal", move |place| {
        b.swiglu(&mut y, &own_gate, &own_up);
        give(b, &y, place);
    });
    let (gate, up) = (tensor(&gate, &[ROWS, cols], dtype), tensor(&up, &[ROWS, cols], dtype));
    let candle = Side::new("candle, two operations", move |place| {
        give_tensor(&ok(gate.silu().and_then(|s| s * &up)), place);
    });
    let (width, near) = of(dtype);
    by_turns(name, (3 * ROWS * cols * width, "GB/s"), near, &mut [ours, candle]);
}

/// Not in place on candle's side: it cannot. proximal's numbers are turned on and on, which changes no length.
fn rope(name: &str, b: &Cpu<f32>, heads: Heads) {
    let Heads { heads, head_dim: d, .. } = heads;
    let x = numbers(1, ROWS * heads * d);
    let angles = Rope {
        theta: 1e5,
        scaling: RopeScaling::None,
    };
    let table: Vec<f32> = kernel::rope::table(&angles, d, ROWS);
    let own_table = acc(b, &table, ROWS);
    let positions = ok(b.index(&(0..ROWS as u32).collect::<Vec<_>>()));
    let mut own_x = buf(b, &x, ROWS);
    let ours = Side::new("proximal", move |place| {
        b.rope(&mut own_x, &own_table, &positions, d, Direction::Forward);
        give(b, &own_x, place);
    });
    let half = |from: usize| -> Vec<f32> {
        table
            .chunks(d)
            .flat_map(|row| &row[from..from + d / 2])
            .copied()
            .collect()
    };
    let [cos, sin] = [0, d / 2].map(|from| tensor(&half(from), &[ROWS, d / 2], DType::F32));
    let x = tensor(&x, &[1, ROWS, heads, d], DType::F32);
    let candle = Side::new("candle", move |place| {
        give_tensor(&ok(candle_nn::rotary_emb::rope_thd(&x, &cos, &sin)), place);
    });
    by_turns(name, (2 * ROWS * heads * d * 4, "GB/s"), NEAR, &mut [ours, candle]);
}

fn attention(name: &str, b: &Cpu<f32>, shape: Heads) {
    let Heads {
        heads,
        kv_heads,
        head_dim: d,
    } = shape;
    let data = [(1, heads), (2, kv_heads), (3, kv_heads)].map(|(seed, n)| numbers(seed, ROWS * n * d));
    let [q, k, v] = data.each_ref().map(|x| buf(b, x, ROWS));
    let segment = Segment {
        start: 0,
        len: ROWS,
        parent: None,
    };
    let tree = ok(b.tree(&[segment]));
    let (mut o, mut lse) = (ok(b.buf(ROWS, heads * d)), ok(b.acc(ROWS, heads)));
    let ours = Side::new("proximal", move |place| {
        b.attention(&mut o, &mut lse, Qkv { q: &q, k: &k, v: &v }, &tree, shape);
        give(b, &o, place);
    });
    let [q, k, v] = data
        .each_ref()
        .map(|x| tensor(x, &[1, ROWS, x.len() / ROWS / d, d], DType::F32));
    let scale = shape.scale() as f32;
    let candle = Side::new("candle, flash_attn", move |place| {
        let o = ok(flash_attn::<f32>(&q, &k, &v, scale, AttnMask::causal(), None, None));
        // (1, H, N, D): as rows only for the comparison.
        if place.is_some() {
            give_tensor(&ok(o.transpose(1, 2)), place);
        }
    });
    let flops = 2 * ROWS * (ROWS + 1) * heads * d;
    by_turns(name, (flops, "GFLOP/s"), NEAR, &mut [ours, candle]);
}

fn main() {
    let settings = ok(Settings::detect());
    let threads = settings.threads;
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var(name, threads.to_string()) };
    }
    println!(
        "{threads} threads, {}; times the first side's time: least, median, most of the turns",
        settings.isa.name()
    );
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let case = |name: &str, run: &dyn Fn(&str)| {
        if wanted(name) {
            run(name);
        }
    };
    let (f32s, bf16s) = (&Cpu::<f32>::new(settings), &Cpu::<bf16>::new(settings));
    let products = [
        (1536, 576, 512),
        (4864, 896, 512),
        (49152, 576, 256),
        (1536, 576, 8),
        (1536, 576, 1),
    ];
    for shape in products {
        let (n, k, m) = shape;
        case(&format!("f32 product {n}x{k} x{m}"), &|name| {
            product(name, f32s, threads, shape)
        });
    }
    for shape in &products[..2] {
        let (n, k, m) = shape;
        case(&format!("bf16 product {n}x{k} x{m}"), &|name| {
            product_bf16(name, bf16s, *shape)
        });
    }
    let heads = Heads {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
    };
    case("f32 rmsnorm 576 x512", &|name| rmsnorm(name, f32s, DType::F32, 576));
    case("bf16 rmsnorm 576 x512", &|name| rmsnorm(name, bf16s, DType::BF16, 576));
    case("f32 swiglu 1536 x512", &|name| swiglu(name, f32s, DType::F32, 1536));
    case("bf16 swiglu 1536 x512", &|name| swiglu(name, bf16s, DType::BF16, 1536));
    case("f32 rope 9x64 x512", &|name| rope(name, f32s, heads));
    case("f32 attention 9/3x64 x512", &|name| attention(name, f32s, heads));
}
