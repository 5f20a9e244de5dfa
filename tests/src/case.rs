//! An operation with its inputs.
use kernel::backend::{AdamW, Heads};
use kernel::batch::Segment;
use kernel::mat::{Accum, Direction};
use kernel::rounding::Dither;
use kernel::sample::Sampling;

use crate::host::{Host, full};

/// Which of a backend's storages a matrix is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compute precision.
    Buf,
    /// Accumulator precision.
    Acc,
    /// Prepared.
    Weight,
}

/// Whether a matrix has a row for each row of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It has.
    Rows,
    /// It belongs to all rows together: weights and their gradients.
    Whole,
}

/// What derivatives make of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An input with a gradient, an output with a cotangent.
    Variable,
    /// Neither: tables, saved statistics.
    Constant,
}

/// A matrix that the call reads.
#[derive(Clone, Debug)]
pub struct Input {
    /// The name in the trait's signature.
    pub name: &'static str,
    /// Storage.
    pub kind: Kind,
    /// Extent.
    pub extent: Extent,
    /// Role.
    pub role: Role,
    /// Contents.
    pub value: Host,
}

/// A matrix that the call writes.
#[derive(Clone, Debug)]
pub struct Output {
    /// The name in the trait's signature.
    pub name: &'static str,
    /// Storage.
    pub kind: Kind,
    /// Extent.
    pub extent: Extent,
    /// Role.
    pub role: Role,
    /// Contents before the call: NaN where the call must not read it.
    pub initial: Host,
}

/// The operation and its sizes. Matrices are taken from the case in the order of the trait's signature.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the variants and fields are the methods of the traits and their arguments"
)]
pub enum Call {
    Buf,
    Acc,
    Prepare,
    Upload,
    Narrow,
    Widen,
    Copy,
    Zero,
    ZeroBuf,
    Embed,
    EmbedBwd,
    Gather,
    ScatterAdd,
    Rmsnorm { eps: f64 },
    RmsnormBwd { accum: Accum },
    Linear { accum: Accum },
    LinearBwdX { accum: Accum },
    LinearBwdW,
    LinearEach,
    LinearEachBwdX,
    LinearEachBwdW,
    Rope { head_dim: usize, direction: Direction },
    Attention { segments: Vec<Segment>, heads: Heads },
    AttentionBwd { segments: Vec<Segment>, heads: Heads },
    Swiglu,
    SwigluBwd,
    SwigluFwdBwd,
    Head { temperature: f64 },
    HeadBwd { temperature: f64 },
    Dot,
    Axpy { alpha: f64 },
    Scale { alpha: f64 },
    Adamw { step: AdamW },
    AdamwNarrow { step: AdamW, dither: Dither },
    AttentionDecode { segments: Vec<Segment>, heads: Heads },
    Logits,
    Logp { temperature: f64 },
    Sample { how: Sampling },
    RmsnormJvp,
    AttentionJvp { segments: Vec<Segment>, heads: Heads },
    SwigluJvp,
    HeadFisher { temperature: f64 },
    HeadKl { temperature: f64 },
}

impl Call {
    /// The methods of the traits that this call puts to the test, the one it is named after last.
    pub fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Buf => &["buf"],
            Self::Acc => &["acc"],
            Self::Prepare => &["weight", "prepare"],
            Self::Upload => &["upload", "download"],
            Self::Narrow => &["narrow"],
            Self::Widen => &["widen"],
            Self::Copy => &["copy"],
            Self::Zero => &["zero"],
            Self::ZeroBuf => &["zero_buf"],
            Self::Embed => &["embed"],
            Self::EmbedBwd => &["embed_bwd"],
            Self::Gather => &["index", "refill", "gather"],
            Self::ScatterAdd => &["scatter_add"],
            Self::Rmsnorm { .. } => &["rmsnorm"],
            Self::RmsnormBwd { .. } => &["rmsnorm_bwd"],
            Self::Linear { .. } => &["linear"],
            Self::LinearBwdX { .. } => &["linear_bwd_x"],
            Self::LinearBwdW => &["linear_bwd_w"],
            Self::LinearEach => &["linear_each"],
            Self::LinearEachBwdX => &["linear_each_bwd_x"],
            Self::LinearEachBwdW => &["linear_each_bwd_w"],
            Self::Rope { .. } => &["rope"],
            Self::Attention { .. } => &["tree", "attention"],
            Self::AttentionBwd { .. } => &["attention_bwd"],
            Self::Swiglu => &["swiglu"],
            Self::SwigluBwd => &["swiglu_bwd"],
            Self::SwigluFwdBwd => &["swiglu_fwd_bwd"],
            Self::Head { .. } => &["head"],
            Self::HeadBwd { .. } => &["head_bwd"],
            Self::Dot => &["dot"],
            Self::Axpy { .. } => &["axpy"],
            Self::Scale { .. } => &["scale"],
            Self::Adamw { .. } => &["adamw"],
            Self::AdamwNarrow { .. } => &["adamw_narrow"],
            Self::AttentionDecode { .. } => &["cache", "kv_append", "together", "attention_decode"],
            Self::Logits => &["logits"],
            Self::Logp { .. } => &["logp"],
            Self::Sample { .. } => &["sample"],
            Self::RmsnormJvp => &["rmsnorm_jvp"],
            Self::AttentionJvp { .. } => &["attention_jvp"],
            Self::SwigluJvp => &["swiglu_jvp"],
            Self::HeadFisher { .. } => &["head_fisher"],
            Self::HeadKl { .. } => &["head_kl"],
        }
    }
}

/// An operation with its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operation.
    pub call: Call,
    /// Its sizes, for messages.
    pub label: String,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// What it writes.
    pub outputs: Vec<Output>,
    /// Ids, row numbers, positions or targets, where it has any.
    pub index: Vec<u32>,
}

impl Case {
    /// A case without matrices.
    pub fn new(call: Call, label: impl Into<String>) -> Self {
        Self {
            call,
            label: label.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            index: Vec::new(),
        }
    }

    /// The method that the case is named after.
    pub fn method(&self) -> &'static str {
        self.call.methods().last().unwrap_or(&"")
    }

    /// The method, and the sizes.
    pub fn name(&self) -> String {
        format!("{} [{}]", self.method(), self.label)
    }

    /// With ids, row numbers, positions or targets.
    pub fn index(mut self, index: Vec<u32>) -> Self {
        self.index = index;
        self
    }

    /// Reads a matrix with a row for each row of the batch.
    pub fn reads(self, name: &'static str, kind: Kind, value: Host) -> Self {
        self.input(name, kind, Extent::Rows, Role::Variable, value)
    }

    /// Reads a matrix that belongs to all rows together.
    pub fn reads_whole(self, name: &'static str, kind: Kind, value: Host) -> Self {
        self.input(name, kind, Extent::Whole, Role::Variable, value)
    }

    /// Reads a matrix that has no gradient.
    pub fn reads_constant(self, name: &'static str, kind: Kind, extent: Extent, value: Host) -> Self {
        self.input(name, kind, extent, Role::Constant, value)
    }

    fn input(mut self, name: &'static str, kind: Kind, extent: Extent, role: Role, value: Host) -> Self {
        self.inputs.push(Input {
            name,
            kind,
            extent,
            role,
            value,
        });
        self
    }

    /// Replaces a (rows, cols) matrix with a row for each row of the batch.
    pub fn writes(self, name: &'static str, kind: Kind, (rows, cols): (usize, usize)) -> Self {
        self.output(name, kind, Extent::Rows, Role::Variable, full(rows, cols, f64::NAN))
    }

    /// Replaces a (rows, cols) matrix of statistics, which no loss depends on.
    pub fn saves(self, name: &'static str, kind: Kind, (rows, cols): (usize, usize)) -> Self {
        self.output(name, kind, Extent::Rows, Role::Constant, full(rows, cols, f64::NAN))
    }

    /// Changes a matrix with a row for each row of the batch.
    pub fn updates(self, name: &'static str, kind: Kind, initial: Host) -> Self {
        self.output(name, kind, Extent::Rows, Role::Variable, initial)
    }

    /// Changes a matrix that belongs to all rows together.
    pub fn updates_whole(self, name: &'static str, kind: Kind, initial: Host) -> Self {
        self.output(name, kind, Extent::Whole, Role::Variable, initial)
    }

    fn output(mut self, name: &'static str, kind: Kind, extent: Extent, role: Role, initial: Host) -> Self {
        self.outputs.push(Output {
            name,
            kind,
            extent,
            role,
            initial,
        });
        self
    }
}
