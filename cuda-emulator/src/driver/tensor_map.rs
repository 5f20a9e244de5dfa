//! Tensor maps: what the copies of boxes of tensors (`cp.async.bulk.tensor`) go by.

use super::abi::{Host, Untyped, Words};
use super::exports::exports;
use super::report;
use super::state::{DONE, anywhere};
use super::status::Status;
use crate::tensor::map::{RANK, TensorMap};
use crate::tensor::wgmma::Swizzle;

/// Bytes of an element of `CU_TENSOR_MAP_DATA_TYPE_`; none for packed types of less than a byte, and for what is no type.
fn element(data_type: i32) -> Option<u64> {
    match data_type {
        0 => Some(1),
        1 | 6 | 9 => Some(2),
        2 | 3 | 7 | 10 | 11 | 12 => Some(4),
        4 | 5 | 8 => Some(8),
        _ => None,
    }
}

/// Whether a type is of floating point.
fn is_float(data_type: i32) -> bool {
    (6..=12).contains(&data_type)
}

/// What the arguments of `cuTensorMapEncodeTiled` are.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    /// `tensorDataType`
    pub data_type: i32,
    /// `globalAddress`
    pub address: u64,
    /// `globalDim`: elements along each dimension.
    pub sizes: &'a [u64],
    /// `globalStrides`: bytes, of all dimensions but the first.
    pub strides: &'a [u64],
    /// `boxDim`
    pub extent: &'a [u32],
    /// `elementStrides`
    pub steps: &'a [u32],
    /// `interleave`
    pub interleave: i32,
    /// `swizzle`
    pub swizzle: i32,
    /// `l2Promotion`
    pub promotion: i32,
    /// `oobFill`
    pub fill: i32,
}

impl Arguments<'_> {
    /// The map.
    ///
    /// # Errors
    /// What is wrong, after the requirements of NVIDIA's manual, in its order. What is allowed and not emulated is `NOT_SUPPORTED`.
    pub fn map(&self) -> Result<TensorMap, (Status, String)> {
        let rank = self.sizes.len();
        let invalid = |text: String| Err((Status::INVALID_VALUE, text));
        let missing = |text: String| Err((Status::NOT_SUPPORTED, text));
        let Some(element) = element(self.data_type) else {
            let text = format!("tensorDataType {}", self.data_type);
            return if (13..=15).contains(&self.data_type) {
                missing(text)
            } else {
                invalid(text)
            };
        };
        if !(0..=2).contains(&self.interleave) {
            return invalid(format!("interleave {}", self.interleave));
        }
        if self.interleave != 0 && rank < 3 {
            return invalid(format!("tensorRank {rank} with an interleaved layout"));
        }
        let align = if self.interleave == 2 { 32 } else { 16 };
        if !self.address.is_multiple_of(align) {
            return invalid(format!("globalAddress {:#x} is no multiple of {align}", self.address));
        }
        if let Some(i) = self.sizes.iter().position(|&n| n == 0 || n > 1 << 32) {
            return invalid(format!("globalDim[{i}] is {}, of 1 to 2^32", self.sizes[i]));
        }
        if let Some(i) = self
            .strides
            .iter()
            .position(|&n| !n.is_multiple_of(align) || n >= 1 << 40)
        {
            return invalid(format!(
                "globalStrides[{i}] is {}, no multiple of {align} below 2^40",
                self.strides[i]
            ));
        }
        if let Some(i) = self.extent.iter().position(|&n| n == 0 || n > 256) {
            return invalid(format!("boxDim[{i}] is {}, of 1 to 256", self.extent[i]));
        }
        let inner = u64::from(self.extent[0]) * element;
        if self.interleave == 0 && !inner.is_multiple_of(16) {
            return invalid(format!("boxDim[0] is of {inner} bytes, no multiple of 16"));
        }
        if let Some(i) = self.steps.iter().position(|&n| n == 0 || n > 8) {
            return invalid(format!("elementStrides[{i}] is {}, of 1 to 8", self.steps[i]));
        }
        let swizzle = match self.swizzle {
            0 => Swizzle::None,
            1 => Swizzle::Bytes32,
            2 => Swizzle::Bytes64,
            3 => Swizzle::Bytes128,
            4..=6 => return missing(format!("swizzle {}", self.swizzle)),
            _ => return invalid(format!("swizzle {}", self.swizzle)),
        };
        let span = 16 * swizzle.chunks();
        if self.interleave == 0 && swizzle != Swizzle::None && inner > span {
            return invalid(format!("boxDim[0] is of {inner} bytes, swizzling of {span}"));
        }
        if self.interleave == 2 && swizzle != Swizzle::Bytes32 {
            return invalid(format!("swizzle {} with 32-byte interleave", self.swizzle));
        }
        if !(0..=3).contains(&self.promotion) {
            return invalid(format!("l2Promotion {}", self.promotion));
        }
        match self.fill {
            0 => {}
            1 if is_float(self.data_type) => return missing("a fill of NaN".into()),
            1 => return invalid("a fill of NaN for whole numbers".into()),
            n => return invalid(format!("oobFill {n}")),
        }
        if self.interleave != 0 {
            return missing(format!("interleave {}", self.interleave));
        }
        if swizzle != Swizzle::None && inner != span {
            return missing(format!(
                "a box whose rows of {inner} bytes are less than the swizzling of {span}"
            ));
        }
        let mut map = TensorMap {
            rank,
            element,
            address: self.address,
            sizes: [1; RANK],
            strides: [0; RANK],
            extent: [1; RANK],
            steps: [1; RANK],
            swizzle,
        };
        map.sizes[..rank].copy_from_slice(self.sizes);
        map.strides[0] = element;
        map.strides[1..rank].copy_from_slice(self.strides);
        map.extent[..rank].copy_from_slice(self.extent);
        // There are no steps along the innermost dimension.
        map.steps[1..rank].copy_from_slice(&self.steps[1..]);
        Ok(map)
    }
}

exports! {
    /// Makes the map of a tensor, of which a copy moves a box.
    fn cuTensorMapEncodeTiled(
        map: Host,
        data_type: i32,
        rank: u32,
        address: u64,
        sizes: Words<'_, u64>,
        strides: Words<'_, u64>,
        extent: Words<'_, u32>,
        steps: Words<'_, u32>,
        interleave: i32,
        swizzle: i32,
        promotion: i32,
        fill: i32,
    ) {
        anywhere(|d| {
            let refuse = |status: Status, text: &str| {
                let text = format!("cuTensorMapEncodeTiled: {text}");
                if status == Status::NOT_SUPPORTED {
                    report::unsupported(&text);
                } else {
                    report::misuse(&text);
                }
                Err(status)
            };
            if d.engine.options.arch < 90 {
                return refuse(Status::NOT_SUPPORTED, "the device has compute capability 8.0; tensor maps need 9.0");
            }
            if map.0 == 0 || !map.0.is_multiple_of(64) {
                return refuse(Status::INVALID_VALUE, "the address of the map is no multiple of 64");
            }
            if rank == 0 || rank as usize > RANK {
                return refuse(Status::INVALID_VALUE, &format!("tensorRank is {rank}, of 1 to 5"));
            }
            let arguments = Arguments {
                data_type,
                address,
                sizes: sizes.get(rank),
                strides: strides.get(rank - 1),
                extent: extent.get(rank),
                steps: steps.get(rank),
                interleave,
                swizzle,
                promotion,
                fill,
            };
            let n = rank as usize;
            if [arguments.sizes.len(), arguments.extent.len(), arguments.steps.len()] != [n; 3] || arguments.strides.len() != n - 1 {
                return refuse(Status::INVALID_VALUE, "an array is missing");
            }
            match arguments.map() {
                Ok(tensor) => {
                    Untyped::word(map.0).set(tensor.encode())?;
                    DONE
                }
                Err((status, text)) => refuse(status, &text),
            }
        })
    }
}
