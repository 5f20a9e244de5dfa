//! Handles and structures of the C interface.

use super::abi::Host;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident = $tag:literal;)*) => {$(
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub usize);

        impl $name {
            /// The null handle.
            pub const NULL: $name = $name(0);

            /// Handle number n: not an address of anything, and different for each kind of object.
            pub(super) fn number(n: u64) -> $name {
                $name((0xe4 << 40 | $tag << 32) + 16 * n as usize)
            }
        }
    )*};
}

handles! {
    /// `CUcontext`.
    Context = 1;
    /// `CUstream`.
    Stream = 2;
    /// `CUevent`.
    Event = 3;
    /// `CUmodule`.
    Module = 4;
    /// `CUfunction`.
    Function = 5;
    /// `CUgraph`.
    Graph = 6;
    /// `CUgraphExec`.
    GraphExec = 7;
    /// `CUmemoryPool`.
    Pool = 8;
    /// `CUgraphNode`.
    Node = 9;
}

impl Stream {
    /// `CU_STREAM_LEGACY`; the null handle means the same.
    pub const LEGACY: Stream = Stream(1);
    /// `CU_STREAM_PER_THREAD`.
    pub const PER_THREAD: Stream = Stream(2);
}

/// `CUuuid`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Location {
    /// 1: a device; 2 to 4: the host.
    pub kind: i32,
    /// Of the device.
    pub id: i32,
}

/// `CUmemPoolProps`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PoolProperties {
    /// 1: pinned; the only one.
    pub allocation: i32,
    /// For export to other processes; must be 0 here.
    pub handles: i32,
    /// Where the memory is.
    pub location: Location,
    /// Of another operating system.
    pub security: usize,
    /// 0: no limit of its own.
    pub max_size: usize,
    /// Intended use.
    pub usage: u16,
    /// Zero.
    pub reserved: [u8; 54],
}

/// `CUctxCreateParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ContextParameters {
    /// `CUexecAffinityParam *`.
    pub affinity: usize,
    /// Number of those.
    pub affinities: i32,
    /// `CUctxCigParam *`.
    pub graphics: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Copy2d {
    /// The source.
    pub source: Plane,
    /// The destination.
    pub target: Plane,
    /// Bytes of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// One side of a [`Copy2d`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Bytes to skip in each row.
    pub x: usize,
    /// Rows to skip.
    pub y: usize,
    /// `CUmemorytype`: 1 host, 2 device, 3 array, 4 unified.
    pub kind: i32,
    /// Used if `kind` is 1.
    pub host: Host,
    /// Used if `kind` is 2 or 4.
    pub device: u64,
    /// Used if `kind` is 3.
    pub array: usize,
    /// Bytes from row to row.
    pub pitch: usize,
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LaunchConfig {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The stream.
    pub stream: Stream,
    /// Array of [`LaunchAttribute`].
    pub attributes: *const LaunchAttribute,
    /// Its length.
    pub count: u32,
}

/// `CUlaunchAttribute`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct LaunchAttribute {
    /// `CUlaunchAttributeID`.
    pub id: i32,
    /// To 8 bytes.
    pub padding: i32,
    /// Of up to 64 bytes, by `id`.
    pub value: [u32; 16],
}

impl LaunchConfig {
    /// Its attributes.
    pub(super) fn attributes(&self) -> &[LaunchAttribute] {
        if self.count == 0 || self.attributes.is_null() {
            return &[];
        }
        // SAFETY: the C interface asks for `numAttrs` attributes there.
        unsafe { std::slice::from_raw_parts(self.attributes, self.count as usize) }
    }
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateResult {
    /// `CUgraphExecUpdateResult`.
    pub result: i32,
    /// The node that is different, or null.
    pub node: Node,
    /// Where a different edge begins, or null.
    pub from: Node,
}
