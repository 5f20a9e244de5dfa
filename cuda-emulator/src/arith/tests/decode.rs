//! What is not implemented is refused, and what is no arithmetic is left to others.

use super::decode_parts;

fn decode(opcode: &str) -> Result<bool, String> {
    let parts: Vec<&str> = opcode.split('.').collect();
    decode_parts(&parts).map(|found| found.is_some())
}

#[test]
fn not_arithmetic() {
    for opcode in [
        "mov.b32",
        "ld.global.f32",
        "bra",
        "selp.b32",
        "and.pred",
        "not.pred",
        "xor.pred",
        "cvta.to.global.u64",
        "mma.sync",
    ] {
        assert_eq!(decode(opcode), Ok(false), "{opcode}");
    }
}

#[test]
fn refused() {
    for opcode in [
        "add.f32x2",
        "add.sat.u32",
        "add.rna.f32",
        "add.noftz.bf16",
        "add",
        "add.ftz.f64",
        "add.sat.f64",
        "add.ftz.bf16",
        "sub.u16x2",
        "mul.s32",
        "mul.wide.s64",
        "mul.approx.f32",
        "mul.hi.f32",
        "mad.s32",
        "mad.lo.sat.s32",
        "mad.f32",
        "fma.f32",
        "fma.rn.relu.f32",
        "fma.rz.f16",
        "fma.rn.oob.f16",
        "div.f32",
        "div.sat.rn.f32",
        "div.lo.s32",
        "div.approx.f64",
        "rem.f32",
        "min.relu.u32",
        "min.abs.f32",
        "max.xorsign.f32",
        "max.NaN.f64",
        "and.s32",
        "shl.s32",
        "shr.wrap.u32",
        "neg.u32",
        "abs.u32",
        "not.s32",
        "popc.u32",
        "bfind.b32",
        "sqrt.f32",
        "sqrt.approx.f64",
        "rcp.approx.f64",
        "rsqrt.f32",
        "rsqrt.rn.f32",
        "sin.f32",
        "ex2.approx.f64",
        "tanh.approx.f64",
        "tanh.approx.ftz.f32",
        "lg2.approx.f16",
        "bfe.b32",
        "bfi.u32",
        "prmt.b32.xyz",
        "shf.l.b32",
        "lop3.or.b32",
        "lop3.b64",
        "setp.s32",
        "setp.lt.pred2.s32",
        "setp.lt.u8",
        "set.lt.s64.s32",
        "set.lt.b32.s32",
        "slct.f32.u32",
        "testp.f32",
        "testp.normal.f16",
        "dp4a.u32.f32",
        "dp2a.u32.u32",
        "dp4a.lo.u32.u32",
        "cvt.s32.f32",
        "cvt.rn.s32.f32",
        "cvt.rn.satfinite.e4m3x2.f32",
        "cvt.rn.f16x2.e5m2x2",
        "cvt.rn.f32.f64.u32",
        "cvt.rna.f16.f32",
        "cvt.pack.sat.u8.s32.b32",
        "cvt.rs.f16x2.f32",
        "cvt.rni.f32.s32",
        "cvt.rni.f16.f32",
        "cvt.f16.f32",
        "cvt.f32.s32",
        "cvt.relu.f32.f32",
        "cvt.rn.satfinite.f32.f64",
        "cvt.ftz.f16.f64",
    ] {
        assert!(decode(opcode).is_err(), "{opcode} is accepted");
    }
}

#[test]
fn refusals_name_what_is_missing() {
    assert_eq!(decode("add.f32.xyz"), Err("modifier .xyz is not implemented".into()));
    assert_eq!(decode("cvt.s32.f32"), Err("a rounding to integers is missing".into()));
}
