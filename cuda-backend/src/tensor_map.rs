//! Tensor maps: what copies of boxes of matrices go by on devices of compute capability 9.0.
use cudarc::driver::{DriverError, sys};

/// A map of a matrix of bf16 for copies of boxes with rows of 128 bytes, swizzled by them, as `cuda-src/sm90.cuh` says. What of a box lies outside of
/// the matrix arrives as zeros.
pub(crate) struct TensorMap(sys::CUtensorMap);

/// A matrix of bf16 in device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// A multiple of 16.
    pub address: u64,
    /// (rows, cols), both at least 1.
    pub shape: (usize, usize),
    /// Numbers from row to row, a multiple of 8.
    pub stride: usize,
}

impl TensorMap {
    /// Columns of a box.
    pub const COLS: u32 = 64;

    /// The map of a matrix for boxes of `rows` rows, at most 256. Errors: what the driver refuses.
    pub fn new(matrix: Place, rows: u32) -> Result<Self, DriverError> {
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let (sizes, strides) = (
            [matrix.shape.1 as u64, matrix.shape.0 as u64],
            [2 * matrix.stride as u64],
        );
        let (extent, steps) = ([Self::COLS, rows], [1, 1]);
        // SAFETY: the map is written, and two numbers of each list (of the strides one) are read, during the call.
        let status = unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                2,
                matrix.address as *mut core::ffi::c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                extent.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        status.result().map(|()| Self(map))
    }

    /// Its bytes, which only the device understands.
    pub fn opaque(&self) -> [u64; 16] {
        self.0.opaque
    }
}
