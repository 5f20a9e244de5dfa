//! Tensor maps: what `cuTensorMapEncodeTiled` makes and `cp.async.bulk.tensor` reads. NVIDIA keeps their 128 bytes opaque; these are the
//! emulator's own.

use super::wgmma::Swizzle;

/// Bytes of a map.
pub const BYTES: usize = 128;
/// Most dimensions.
pub const RANK: usize = 5;
/// How every map of the emulator begins.
const MAGIC: u64 = 0x7061_6d72_6f73_6e65;

/// A tensor in device memory and the box that a copy moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Dimensions, 1 to 5; the first is the innermost.
    pub rank: usize,
    /// Bytes of an element.
    pub element: u64,
    /// Where the tensor begins.
    pub address: u64,
    /// Elements along each dimension.
    pub sizes: [u64; RANK],
    /// Bytes from one to the next along each dimension.
    pub strides: [u64; RANK],
    /// Elements of the box along each dimension.
    pub extent: [u32; RANK],
    /// Steps between the elements of the box.
    pub steps: [u32; RANK],
    /// How the box lies in shared memory.
    pub swizzle: Swizzle,
}

/// A run of bytes of a box that lies in one piece in device memory and, without swizzling, in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Address in device memory of the bytes that are inside the tensor.
    pub address: u64,
    /// How many are.
    pub bytes: u64,
    /// Bytes of the box before them.
    pub offset: u64,
}

impl TensorMap {
    /// The 128 bytes.
    pub fn encode(&self) -> [u64; BYTES / 8] {
        let mut words = [0; BYTES / 8];
        let swizzle = self.swizzle.chunks();
        words[0] = MAGIC;
        words[1] = self.address;
        words[2] = self.rank as u64 | self.element << 8 | swizzle << 16;
        words[3..8].copy_from_slice(&self.sizes);
        words[8..12].copy_from_slice(&self.strides[1..]);
        for i in 0..RANK {
            words[12 + i / 3] |= u64::from(self.extent[i]) << (16 * (i % 3));
            words[2] |= u64::from(self.steps[i]) << (24 + 4 * i);
        }
        words[15] = sum(&words);
        words
    }

    /// Reads them; none if they are no map.
    pub fn decode(words: &[u64; BYTES / 8]) -> Option<TensorMap> {
        if words[0] != MAGIC || words[15] != sum(words) {
            return None;
        }
        let mut map = TensorMap {
            rank: (words[2] & 0xff) as usize,
            element: words[2] >> 8 & 0xff,
            address: words[1],
            sizes: [0; RANK],
            strides: [0; RANK],
            extent: [0; RANK],
            steps: [0; RANK],
            swizzle: match words[2] >> 16 & 0xff {
                1 => Swizzle::None,
                2 => Swizzle::Bytes32,
                4 => Swizzle::Bytes64,
                _ => Swizzle::Bytes128,
            },
        };
        map.sizes.copy_from_slice(&words[3..8]);
        map.strides[0] = map.element;
        map.strides[1..].copy_from_slice(&words[8..12]);
        for i in 0..RANK {
            map.extent[i] = (words[12 + i / 3] >> (16 * (i % 3)) & 0xffff) as u32;
            map.steps[i] = (words[2] >> (24 + 4 * i) & 0xf) as u32;
        }
        Some(map)
    }

    /// Elements that a copy moves along a dimension.
    fn count(&self, i: usize) -> u64 {
        if i < self.rank {
            u64::from(self.extent[i].div_ceil(self.steps[i].max(1)))
        } else {
            1
        }
    }

    /// Bytes of the box, of which each is written or counted, inside the tensor or not.
    pub fn box_bytes(&self) -> u64 {
        (0..RANK).map(|i| self.count(i)).product::<u64>() * self.element
    }

    /// The parts of the box at these coordinates that are inside the tensor.
    pub fn rows(&self, at: &[i32]) -> Vec<Row> {
        let row_bytes = self.count(0) * self.element;
        let outer: u64 = (1..RANK).map(|i| self.count(i)).product();
        // Along the innermost dimension.
        let at0 = i64::from(at[0]);
        let first = (-at0).clamp(0, self.count(0) as i64) as u64;
        let end = (self.sizes[0] as i64 - at0).clamp(first as i64, self.count(0) as i64) as u64;
        let mut rows = Vec::new();
        'rows: for n in 0..outer {
            let mut left = n;
            let mut address = self.address;
            for (i, &at) in at.iter().enumerate().take(self.rank).skip(1) {
                let c = i64::from(at) + (left % self.count(i)) as i64 * i64::from(self.steps[i]);
                left /= self.count(i);
                if c < 0 || c as u64 >= self.sizes[i] {
                    continue 'rows;
                }
                address += c as u64 * self.strides[i];
            }
            if end > first {
                rows.push(Row {
                    address: address + (at0 + first as i64) as u64 * self.element,
                    bytes: (end - first) * self.element,
                    offset: n * row_bytes + first * self.element,
                });
            }
        }
        rows
    }
}

/// A check that nobody wrote over a map.
fn sum(words: &[u64; BYTES / 8]) -> u64 {
    words[..15]
        .iter()
        .fold(1, |s: u64, w| s.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ w)
}
