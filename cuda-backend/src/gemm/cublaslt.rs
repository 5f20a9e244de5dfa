//! NVIDIA's library for the large products of bf16, on a real device only: it takes its entry points from the driver by undocumented ways, and
//! an emulated driver has none. So the tests do not run this; they run our own kernels, which this stands in for where the library
//! is there and has an algorithm. Sums are f32, rounded once; the algorithm, and so the order of sums, is the library's choice for device and shape.
use core::ffi::c_void;
use core::ptr::from_ref;

use cudarc::cublaslt::{result, sys};
use kernel::mat::Accum;

use super::{Form, View};
use crate::device::{Cuda, Element};

/// Bytes that an algorithm may work in: NVIDIA's recommendation for compute capability 9.0.
const WORKSPACE: usize = 32 << 20;

/// The library, opened.
pub(crate) struct Library {
    handle: sys::cublasLtHandle_t,
}

// SAFETY: NVIDIA documents the handle as usable from several threads at once.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// None where it is not in the library path or does not start. The device's context must be current.
    pub fn open() -> Option<Self> {
        // SAFETY: it only tries to open the library.
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        let handle = result::create_handle().ok()?;
        Some(Self { handle })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle is this value's own. There is nobody to tell of a failure.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What a call describes, freed when it goes. The library takes column-major matrices: ours are their transposes, so c' = op(b)' op(a)'.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn of<N: Element>(x: &View<'_, N>) -> Result<Self, result::CublasError> {
        let kind = if size_of::<N>() == 2 {
            sys::cudaDataType_t::CUDA_R_16BF
        } else {
            sys::cudaDataType_t::CUDA_R_32F
        };
        result::create_matrix_layout(kind, x.cols as u64, x.rows as u64, x.stride as i64).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made by `of`, used by nobody else.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new() -> Result<Self, result::CublasError> {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map(Self)
    }

    fn set<A>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: A) -> Result<(), result::CublasError> {
        // SAFETY: the library copies the value, whose type is the attribute's (see the calls).
        unsafe { result::set_matmul_desc_attribute(self.0, attribute, from_ref(&value).cast(), size_of::<A>()) }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Result<Self, result::CublasError> {
        let preference = result::create_matmul_pref().map(Self)?;
        let most = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: the attribute is 64 bits.
        unsafe {
            result::set_matmul_pref_attribute(
                preference.0,
                most,
                from_ref(&(WORKSPACE as u64)).cast(),
                size_of::<u64>(),
            )?;
        }
        Ok(preference)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// c (+)= op(a) op(b) + bias, put on the stream. False: the library is absent or has no algorithm for this, and nothing was done.
/// The shapes fit.
pub(super) fn product<T: Element, C: Element>(
    b: &Cuda<T>,
    c: View<'_, C>,
    (left, right, form): (View<'_, T>, View<'_, T>, Form),
    bias: Option<u64>,
    accum: Accum,
) -> bool {
    // Where the library's vector is of c's type, ours must be.
    if size_of::<T>() != 2 || (bias.is_some() && size_of::<C>() != 2) || b.stream.context().bind_to_thread().is_err() {
        return false;
    }
    let Some(library) = b.cublaslt.get_or_init(Library::open) else {
        return false;
    };
    // What was put off comes first.
    b.send();
    let done = b.room("cublaslt", WORKSPACE, |room| {
        start(b, library, c, (left, right, form), (bias, accum), room.address()).is_ok()
    });
    done == Some(true)
}

fn start<T: Element, C: Element>(
    b: &Cuda<T>,
    library: &Library,
    c: View<'_, C>,
    (left, right, form): (View<'_, T>, View<'_, T>, Form),
    (bias, accum): (Option<u64>, Accum),
    workspace: u64,
) -> Result<(), result::CublasError> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    let description = Description::new()?;
    // The transposes of the factors, in the library's order.
    description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, i32::from(form == Form::Nt))?;
    description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, i32::from(form == Form::Tn))?;
    if let Some(bias) = bias {
        // Its bias goes along the rows of c', which are c's columns.
        description.set(
            Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
        )?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
    }
    let (x, y, z) = (Layout::of(&right)?, Layout::of(&left)?, Layout::of(&c)?);
    let preference = Preference::new()?;
    let beta: f32 = if accum == Accum::Add { 1.0 } else { 0.0 };
    // SAFETY: the descriptions were made above and live to the end; the addresses are those of matrices of these layouts, alive
    // until the stream has come this far; `alpha` and `beta` are read before the call returns.
    unsafe {
        let found = result::get_matmul_algo_heuristic(library.handle, description.0, x.0, y.0, z.0, z.0, preference.0)?;
        result::matmul(
            library.handle,
            description.0,
            from_ref(&1f32).cast(),
            from_ref(&beta).cast(),
            right.address as *const c_void,
            x.0,
            left.address as *const c_void,
            y.0,
            c.address as *const c_void,
            z.0,
            c.address as *mut c_void,
            z.0,
            from_ref(&found.algo),
            workspace as *mut c_void,
            WORKSPACE,
            b.stream.cu_stream().cast(),
        )
    }
}
