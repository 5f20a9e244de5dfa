//! Instructions that only change registers.

use super::block::Block;
use super::warp::Warp;
use crate::arith::simd::map1;
use crate::arith::{Arith, Lanes, Wide, bits, int64};
use crate::code::{Extra, Inst, Op, PARAM_WINDOW, Slot, Space};
use crate::fault::Cause;
use crate::memory::{DEVICE_BASE, LOCAL_WINDOW, SHARED_WINDOW};

impl Block<'_, '_> {
    /// Executes an instruction that the loop of the interpreter does not treat itself.
    #[inline(always)]
    pub fn execute(&mut self, w: &mut Warp, inst: &Inst, m: u32) -> Result<(), Box<Cause>> {
        match &inst.op {
            Op::Arith(op, to, sources) => arith(w, *op, m, *to, sources),
            Op::ArithP(op, extra) => arith_p(w, *op, m, extra),
            Op::Lop3(table, to, s) => {
                let r = |i: usize| &w.r[s[i] as usize].0;
                let out = bits::lop3(*table, r(0), r(1), r(2));
                w.set_r(m, *to, &out);
            }
            Op::StackAddress(to, offset) => {
                let top = &w.d[self.program.stack_register as usize].0;
                let out = map1(top, |top| top.wrapping_add(*offset));
                w.set_d(m, *to, &out);
            }
            Op::MovR(to, a) => {
                let value = w.r[*a as usize].0;
                w.set_r(m, *to, &value);
            }
            Op::MovD(to, a) => {
                let value = w.d[*a as usize].0;
                w.set_d(m, *to, &value);
            }
            Op::MovP(to, a) => {
                let value = w.pred(*a);
                w.set_p(m, *to, value);
            }
            Op::LogicP(combine, to, a, b) => {
                let value = combine.apply(w.pred(*a), w.pred(*b));
                w.set_p(m, *to, value);
            }
            Op::SelR(to, a, b, p) => {
                let p = w.pred(*p);
                let (x, y) = (&w.r[*a as usize].0, &w.r[*b as usize].0);
                let mut out = [0; 32];
                for i in 0..32 {
                    out[i] = if p >> i & 1 != 0 { x[i] } else { y[i] };
                }
                w.set_r(m, *to, &out);
            }
            Op::SelD(to, a, b, p) => {
                let p = w.pred(*p);
                let (x, y) = (&w.d[*a as usize].0, &w.d[*b as usize].0);
                let mut out = [0; 32];
                for i in 0..32 {
                    out[i] = if p >> i & 1 != 0 { x[i] } else { y[i] };
                }
                w.set_d(m, *to, &out);
            }
            Op::Pack64(to, low, high) => {
                let (x, y) = (&w.r[*low as usize].0, &w.r[*high as usize].0);
                let mut out = [0; 32];
                for i in 0..32 {
                    out[i] = u64::from(x[i]) | u64::from(y[i]) << 32;
                }
                w.set_d(m, *to, &out);
            }
            Op::Unpack64(low, high, a) => {
                let value = w.d[*a as usize].0;
                w.set_r(m, *low, &map1(&value, |v| v as u32));
                w.set_r(m, *high, &map1(&value, |v| (v >> 32) as u32));
            }
            Op::Pack(to, parts, bits) => pack(w, m, *to, parts, *bits),
            Op::Unpack(parts, a, bits) => unpack(w, m, parts, *a, *bits),
            Op::ClockR(to, shift) => {
                let now = (self.clock() >> shift) as u32;
                w.set_r(m, *to, &[now; 32]);
            }
            Op::ClockD(to) => {
                let now = self.clock();
                w.set_d(m, *to, &[now; 32]);
            }
            Op::ToGeneric(to, a, space) => {
                let base = window(*space);
                let value = map1(&w.d[*a as usize].0, |v| v.wrapping_add(base));
                w.set_d(m, *to, &value);
            }
            Op::FromGeneric(to, a, space) => {
                let base = window(*space);
                let value = map1(&w.d[*a as usize].0, |v| v.wrapping_sub(base));
                w.set_d(m, *to, &value);
            }
            Op::IsSpace(to, a, space) => {
                let value = w.d[*a as usize].0;
                let place = |address| match space_of(address) {
                    Space::Global if self.worker.is_constant(address) => Space::Const,
                    place => place,
                };
                let p = (0..32).fold(0, |p, i| p | u32::from(place(value[i]) == *space) << i);
                w.set_p(m, *to, p);
            }
            Op::ActiveMask(to) => w.set_r(m, *to, &[m; 32]),
            Op::Nop => {}
            _ => return self.access(w, inst, m),
        }
        Ok(())
    }
}

/// Where the generic addresses of a space begin.
pub fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local | Space::Frame => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        Space::Global | Space::Const | Space::Generic => 0,
    }
}

/// The space a generic address lies in.
#[inline(always)]
pub fn space_of(address: u64) -> Space {
    match address {
        SHARED_WINDOW..LOCAL_WINDOW => Space::Shared,
        LOCAL_WINDOW..PARAM_WINDOW => Space::Local,
        PARAM_WINDOW..DEVICE_BASE => Space::Param,
        _ => Space::Global,
    }
}

#[inline(always)]
fn arith(w: &mut Warp, op: Arith, m: u32, to: u32, s: &[u32; 4]) {
    let r = |i: usize| &w.r[s[i] as usize].0;
    let d = |i: usize| &w.d[s[i] as usize].0;
    match op {
        Arith::Unary32(op) => {
            let out = op.apply(r(0));
            w.set_r(m, to, &out);
        }
        Arith::Binary32(op) => {
            let out = op.apply(r(0), r(1));
            w.set_r(m, to, &out);
        }
        Arith::Ternary32(op) => {
            let out = op.apply(r(0), r(1), r(2));
            w.set_r(m, to, &out);
        }
        Arith::Unary64(op) => {
            let out = op.apply(d(0));
            w.set_d(m, to, &out);
        }
        Arith::Binary64(op) => {
            let out = op.apply(d(0), d(1));
            w.set_d(m, to, &out);
        }
        Arith::Ternary64(op) => {
            let out = op.apply(d(0), d(1), d(2));
            w.set_d(m, to, &out);
        }
        Arith::MulWide(sign) => {
            let out = int64::mul_wide(sign, r(0), r(1));
            w.set_d(m, to, &out);
        }
        Arith::MadWide(sign) => {
            let out = int64::mad_wide(sign, r(0), r(1), d(2));
            w.set_d(m, to, &out);
        }
        Arith::Convert(convert) => match (convert.to.bits(), convert.from.bits()) {
            (64, 64) => {
                let out = convert.apply64(d(0));
                w.set_d(m, to, &out);
            }
            (64, _) => {
                let out = convert.apply32to64(r(0));
                w.set_d(m, to, &out);
            }
            (_, 64) => {
                let out = convert.apply64to32(d(0));
                w.set_r(m, to, &out);
            }
            _ => {
                let out = convert.apply32(r(0), r(1));
                w.set_r(m, to, &out);
            }
        },
        Arith::Shift64(shift) => {
            let out = int64::shift(shift, d(0), r(1));
            w.set_d(m, to, &out);
        }
        Arith::Count64(count) => {
            let out = int64::count(count, d(0));
            w.set_r(m, to, &out);
        }
        Arith::Bfi32 => {
            let out = bits::insert32(r(0), r(1), r(2), r(3));
            w.set_r(m, to, &out);
        }
        Arith::Bfi64 => {
            let out = bits::insert64(d(0), d(1), r(2), r(3));
            w.set_d(m, to, &out);
        }
        Arith::Bfe64(sign) => {
            let out = bits::extract64(sign, d(0), r(1), r(2));
            w.set_d(m, to, &out);
        }
        Arith::Slct32(slct) => {
            let first = slct.takes_first(r(2));
            let (a, b) = (r(0), r(1));
            let out = std::array::from_fn(|i| if first >> i & 1 != 0 { a[i] } else { b[i] });
            w.set_r(m, to, &out);
        }
        Arith::Slct64(slct) => {
            let first = slct.takes_first(r(2));
            let (a, b) = (d(0), d(1));
            let out = std::array::from_fn(|i| if first >> i & 1 != 0 { a[i] } else { b[i] });
            w.set_d(m, to, &out);
        }
        // These are lowered to operations of their own.
        Arith::Lop3 | Arith::Carry32(_) | Arith::Carry64(_) | Arith::Setp(_) | Arith::Set(_) | Arith::Testp(_) => {}
    }
}

fn arith_p(w: &mut Warp, op: Arith, m: u32, e: &Extra) {
    let r = |i: usize| &w.r[e.sources[i] as usize].0;
    let d = |i: usize| &w.d[e.sources[i] as usize].0;
    let c = w.pred(e.with);
    match op {
        Arith::Setp(setp) => {
            let (p, q) = if setp.ty.bits() == 64 {
                setp.apply64(d(0), d(1), c)
            } else {
                setp.apply32(r(0), r(1), c)
            };
            w.set_p(m, e.to, p);
            w.set_p(m, e.second, q);
        }
        Arith::Set(set) => {
            let wide = set.setp.ty.bits() == 64;
            let out = if wide {
                set.apply64(d(0), d(1), c)
            } else {
                set.apply32(r(0), r(1), c)
            };
            w.set_r(m, e.to, &out);
        }
        Arith::Testp(testp) => {
            let p = if testp.ty.bits() == 64 {
                testp.apply64(d(0))
            } else {
                testp.apply32(r(0))
            };
            w.set_p(m, e.to, p);
        }
        Arith::Carry32(carry) => {
            let mut flag = c;
            let out = carry.apply32(&mut flag, m, r(0), r(1), r(2));
            w.set_r(m, e.to, &out);
            w.p[e.with.index as usize] = flag;
        }
        Arith::Carry64(carry) => {
            let mut flag = c;
            let out = carry.apply64(&mut flag, m, d(0), d(1), d(2));
            w.set_d(m, e.to, &out);
            w.p[e.with.index as usize] = flag;
        }
        _ => {}
    }
}

fn pack(w: &mut Warp, m: u32, to: Slot, parts: &[u32], bits: u32) {
    let mut out: Wide = [0; 32];
    for (n, &part) in parts.iter().enumerate() {
        let value = &w.r[part as usize].0;
        for i in 0..32 {
            out[i] |= (u64::from(value[i]) & ((1 << bits) - 1)) << (bits * n as u32);
        }
    }
    match to {
        Slot::R(to) => w.set_r(m, to, &map1(&out, |v| v as u32)),
        Slot::D(to) => w.set_d(m, to, &out),
        Slot::None => {}
    }
}

fn unpack(w: &mut Warp, m: u32, parts: &[u32], a: Slot, bits: u32) {
    let value: Wide = match a {
        Slot::R(r) => map1(&w.r[r as usize].0, u64::from),
        Slot::D(d) => w.d[d as usize].0,
        Slot::None => return,
    };
    for (n, &part) in parts.iter().enumerate() {
        let out: Lanes = map1(&value, |v| ((v >> (bits * n as u32)) & ((1 << bits) - 1)) as u32);
        w.set_r(m, part, &out);
    }
}
