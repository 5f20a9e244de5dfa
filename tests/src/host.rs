//! Matrices of f64 on the host, and a small deterministic generator.
use kernel::mat::Mat;

/// A row-major matrix on the host.
pub type Host = Mat<Vec<f64>>;

/// A matrix full of one number.
pub fn full(rows: usize, cols: usize, value: f64) -> Host {
    Mat::new(vec![value; rows * cols], rows, cols)
}

/// A matrix over `data`; its length must be rows x cols.
pub fn matrix<const N: usize>(rows: usize, cols: usize, data: [f64; N]) -> Host {
    assert_eq!(rows * cols, N);
    Mat::new(data.to_vec(), rows, cols)
}

/// The rows `pick` of x, in that order.
pub fn pick_rows(x: &Host, pick: &[usize]) -> Host {
    let data = pick.iter().flat_map(|&i| row(x, i)).copied().collect();
    Mat::new(data, pick.len(), x.cols)
}

/// Row i.
pub fn row(x: &Host, i: usize) -> &[f64] {
    &x.data[i * x.cols..][..x.cols]
}

/// sum_i x_i y_i.
pub fn dot(x: &Host, y: &Host) -> f64 {
    assert_eq!(x.shape(), y.shape());
    x.data.iter().zip(&y.data).map(|(x, y)| x * y).sum()
}

/// x + alpha y.
pub fn add(x: &Host, alpha: f64, y: &Host) -> Host {
    assert_eq!(x.shape(), y.shape());
    let data = x.data.iter().zip(&y.data).map(|(x, y)| x + alpha * y).collect();
    Mat::new(data, x.rows, x.cols)
}

/// SplitMix64 (Steele, Lea and Flood 2014), seeded by a name, so that a case does not change when another is added.
pub struct Rng(u64);

impl Rng {
    /// Seeded by the FNV-1a hash of `name`.
    pub fn new(name: &str) -> Self {
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, variance 1: the sum of twelve uniforms.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// In 0 .. below.
    pub fn below(&mut self, below: usize) -> usize {
        (self.next() % below as u64) as usize
    }

    /// A matrix of normal numbers.
    pub fn matrix(&mut self, rows: usize, cols: usize) -> Host {
        Mat::new((0..rows * cols).map(|_| self.normal()).collect(), rows, cols)
    }

    /// n indices in 0 .. below.
    pub fn index(&mut self, n: usize, below: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(below) as u32).collect()
    }

    /// 0 .. n in a random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}
