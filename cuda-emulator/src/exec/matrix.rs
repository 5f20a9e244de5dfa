//! Matrix instructions: registers and memory to what the products take, and back.

use super::block::Block;
use super::execute::space_of;
use super::warp::Warp;
use crate::arith::{Lanes, Wide};
use crate::code::{MatrixOp, Space};
use crate::fault::{Cause, FaultKind};
use crate::memory::{self, Access, Order, Raw, Scope};
use crate::tensor::Tensor;
use crate::tensor::wmma::Transfer;

/// References to the registers of a fragment.
macro_rules! rows {
    ($bank:expr, $list:expr) => {{
        let mut rows = [&$bank[0].0; 8];
        for (row, &r) in rows.iter_mut().zip($list.iter()) {
            *row = &$bank[r as usize].0;
        }
        (rows, $list.len())
    }};
}

impl Block<'_, '_> {
    /// Executes one, with all lanes of the warp.
    pub fn matrix(&mut self, w: &mut Warp, op: &MatrixOp, m: u32) -> Result<(), Box<Cause>> {
        if m != u32::MAX {
            let message = format!("only lanes {m:#010x} execute it: a matrix instruction takes the whole warp");
            return Err(Cause::new(FaultKind::WarpSync, m.trailing_zeros(), message));
        }
        match op.tensor {
            Tensor::Mma(mma) => {
                self.worker.counters.tensor_flops += mma.flops();
                if mma.is_wide() {
                    let ((a, na), (b, nb), (c, nc)) = (rows!(w.d, op.a), rows!(w.d, op.b), rows!(w.d, op.c));
                    let out = mma.apply_wide(&a[..na], &b[..nb], &c[..nc]);
                    set_wide(w, &op.d, &out);
                } else {
                    let ((a, na), (b, nb), (c, nc)) = (rows!(w.r, op.a), rows!(w.r, op.b), rows!(w.r, op.c));
                    let out = mma.apply(&a[..na], &b[..nb], &c[..nc]);
                    set(w, &op.d, &out);
                }
            }
            Tensor::WmmaMultiply(multiply) => {
                self.worker.counters.tensor_flops += multiply.flops();
                if multiply.is_wide() {
                    let ((a, na), (b, nb), (c, nc)) = (rows!(w.d, op.a), rows!(w.d, op.b), rows!(w.d, op.c));
                    let out = multiply.apply_wide(&a[..na], &b[..nb], &c[..nc]);
                    set_wide(w, &op.d, &out);
                } else {
                    let ((a, na), (b, nb), (c, nc)) = (rows!(w.r, op.a), rows!(w.r, op.b), rows!(w.r, op.c));
                    let out = multiply.apply(&a[..na], &b[..nb], &c[..nc]);
                    set(w, &op.d, &out);
                }
            }
            Tensor::Transpose => {
                let out = crate::tensor::matrix::transpose(&w.r[op.a[0] as usize].0);
                w.set_r(m, op.d[0], &out);
            }
            Tensor::Load(matrices) => {
                let addresses = w.addresses(op.address);
                let mut raw: Raw = [[0; 32]; 4];
                let access = self.tile(w, op.space, matrices.lanes(), 16);
                self.worker.load(self.memory, access, &addresses, &mut raw)?;
                let out = matrices.distribute(&raw);
                set(w, &op.d, &out);
            }
            Tensor::Store(matrices) => {
                let addresses = w.addresses(op.address);
                let (rows, n) = rows!(w.r, op.d);
                let raw = matrices.collect(&rows[..n]);
                let access = self.tile(w, op.space, matrices.lanes(), 16);
                self.worker.store(self.memory, access, &addresses, &raw)?;
            }
            Tensor::WmmaLoad(transfer) => return self.wmma_load(w, op, transfer),
            Tensor::WmmaStore(transfer) => return self.wmma_store(w, op, transfer),
        }
        Ok(())
    }

    fn tile(&self, w: &Warp, space: Space, mask: u32, bytes: usize) -> Access {
        let space = match space {
            Space::Shared => memory::Space::Shared,
            Space::Global => memory::Space::Global,
            _ => memory::Space::Generic,
        };
        Access {
            warp: w.id,
            mask,
            space,
            order: Order::Weak,
            scope: Scope::Device,
            bytes: bytes as u32,
        }
    }

    /// Address and stride, which all lanes must have in common.
    fn common(&self, w: &Warp, op: &MatrixOp) -> Result<(u64, u32), Box<Cause>> {
        let (at, strides) = (w.addresses(op.address), &w.r[op.stride as usize].0);
        if let Some(lane) = (0..32).find(|&i| at[i] != at[0] || strides[i] != strides[0]) {
            let message = "lanes name different matrices".to_string();
            return Err(Cause::new(FaultKind::Undefined, lane as u32, message));
        }
        debug_assert!(op.space != Space::Generic || space_of(at[0]) != Space::Param);
        Ok((at[0], strides[0]))
    }

    fn wmma_load(&mut self, w: &mut Warp, op: &MatrixOp, transfer: Transfer) -> Result<(), Box<Cause>> {
        let (base, stride) = self.common(w, op)?;
        let (pieces, bytes) = transfer.pieces();
        let access = self.tile(w, op.space, u32::MAX, bytes);
        for register in 0..transfer.loads() {
            let mut value: Wide = [0; 32];
            for piece in 0..pieces {
                let addresses = transfer.offsets(register, piece, stride).map(|o| base.wrapping_add(o));
                let mut raw: Raw = [[0; 32]; 4];
                self.worker.load(self.memory, access, &addresses, &mut raw)?;
                for i in 0..32 {
                    let bits = u64::from(raw[0][i]) | if bytes == 8 { u64::from(raw[1][i]) << 32 } else { 0 };
                    value[i] |= bits << (8 * bytes * piece);
                }
            }
            for to in op.d.iter().skip(register).step_by(transfer.loads()) {
                if transfer.is_wide() {
                    w.set_d(u32::MAX, *to, &value);
                } else {
                    w.set_r(u32::MAX, *to, &value.map(|v| v as u32));
                }
            }
        }
        Ok(())
    }

    fn wmma_store(&mut self, w: &mut Warp, op: &MatrixOp, transfer: Transfer) -> Result<(), Box<Cause>> {
        let (base, stride) = self.common(w, op)?;
        let (pieces, bytes) = transfer.pieces();
        let access = self.tile(w, op.space, u32::MAX, bytes);
        for register in 0..transfer.loads() {
            let from = op.d[register] as usize;
            let value: Wide = if transfer.is_wide() {
                w.d[from].0
            } else {
                w.r[from].0.map(u64::from)
            };
            for piece in 0..pieces {
                let addresses = transfer.offsets(register, piece, stride).map(|o| base.wrapping_add(o));
                let part = value.map(|v| v >> (8 * bytes * piece));
                let mut raw: Raw = [[0; 32]; 4];
                let keep = if bytes >= 4 { u32::MAX } else { (1 << (8 * bytes)) - 1 };
                raw[0] = part.map(|v| v as u32 & keep);
                raw[1] = part.map(|v| (v >> 32) as u32);
                self.worker.store(self.memory, access, &addresses, &raw)?;
            }
        }
        Ok(())
    }
}

fn set(w: &mut Warp, to: &[u32], value: &[Lanes]) {
    for (&to, value) in to.iter().zip(value) {
        w.set_r(u32::MAX, to, value);
    }
}

fn set_wide(w: &mut Warp, to: &[u32], value: &[Wide]) {
    for (&to, value) in to.iter().zip(value) {
        w.set_d(u32::MAX, to, value);
    }
}
