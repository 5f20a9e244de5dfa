//! What is not implemented is an error that names the instruction and its line, at load.

use super::harness::text;
use cuda_emulator::engine::{Engine, Options};

#[test]
fn at_load_with_the_line() {
    for instruction in [
        "add.noftz.bf16 %h0, %h1, %h2;",
        "add.f32 %f0, %f1;",
        "cvt.rn.satfinite.e4m3x2.f32 %h0, %f0, %f1;",
        "cvt.s32.f32 %r0, %f0;",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r0}, {%r1}, {%r2}, {%r3};",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r0, %r1}, {%r2, %r3}, {%r4}, {%r5};",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1}, [%r2];",
        "ldmatrix.sync.aligned.m8n16.x1.shared.b8x16.b6x16_p32 {%r0}, [%r2];",
        "shfl.sync.xor.b32 %r0, %r1, 1, 31, -1;",
        "redux.sync.add.f32 %f0, %f1, -1;",
        "lop3.or.b32 %r0|%p0, %r1, %r2, %r3, 0x80, %p1;",
        "min.f32 %f0, %f1, %f2, %f3;",
        "wgmma.fence.sync.aligned;",
        // Modifiers that the type does not have.
        "cvt.rn.sat.bf16.s32 %h0, %r0;",
        "cvt.rn.sat.bf16.f32 %h0, %f0;",
        "cvt.sat.f32.bf16 %f0, %h0;",
        "cvt.rn.ftz.bf16x2.f32 %r0, %f0, %f1;",
        "cvt.rn.ftz.f16x2.f32 %r0, %f0, %f1;",
        "cvt.rna.ftz.tf32.f32 %r0, %f0;",
        // Results that are no registers, sources that have no value.
        "mov.u32 5, %r0;",
        "mov.u32 %tid.x, %r0;",
        "add.u32 %tid.x, %r0, %r1;",
        "add.u32 _, %r0, %r1;",
        "add.u32 %r0, _, %r1;",
        "ld.global.u32 5, [%rd0];",
        "ld.global.u32 _, [%rd0];",
        "ld.global.v2.u32 {%r1, 5}, [%rd0];",
        "st.global.u32 [%rd0], _;",
        "st.global.v2.u32 [%rd0], {%r0, _};",
        "mov.b64 %rd0, {_, %r0};",
        // Registers of other widths than the type.
        "mov.u32 %h0, %r1;",
        "mov.u32 %r0, %h1;",
        "mov.b64 %r0, %r1;",
        "mov.b16 %h0, %r1;",
        "mov.b32 %rd0, %rd1;",
        "mov.b32 %r0, {%r0, %r1};",
        "mov.b64 %rd0, {%h0, %h1};",
        "mov.b64 {%r0, %r1, %r2}, %rd0;",
        "mov.b32 {%h0}, %r0;",
        "add.u16 %r0, %r1, %r2;",
        "add.u32 %r0, %h1, %r2;",
        "mul.wide.u32 %rd0, %h1, %h2;",
        "mul.wide.u16 %rd0, %h1, %h2;",
        "shl.b32 %r0, %r1, %h2;",
        "cvt.s32.s64 %h0, %rd1;",
        "cvt.u64.u32 %r0, %r1;",
        "selp.b16 %r0, %h1, %h2, %p0;",
        "ld.global.u32 %h0, [%rd0];",
        "ld.global.u64 %r0, [%rd0];",
        "ld.global.v2.u32 {%rd0, %r0}, [%rd0];",
        "ld.global.u32 %r0, [%h0];",
        "st.global.u32 [%rd0], %h0;",
        "atom.global.add.u32 %r0, [%rd0], %h1;",
        "atom.global.add.u32 %rd0, [%rd0], %r1;",
        "atom.global.add.u64 %r0, [%rd0], %rd1;",
        "shfl.sync.idx.b32 %h0, %r1, 0, 31, -1;",
        "match.any.sync.b64 %r0, %r1, -1;",
        // Vectors of atomics.
        "atom.global.v2.f32.add %f0, [%rd0], {%f2, %f3};",
        "atom.global.v2.u32.add {%r0, %r1}, [%rd0], {%r2, %r3};",
        "atom.shared.add.v2.f32 {%f0, %f1}, [%r0], {%f2, %f3};",
        "atom.global.add.u32 {%r0, %r1}, [%rd0], %r2;",
        // Other malformed ones.
        "selp.banana %r0, %r1, %r2, %p0;",
        "selp.banana.b32 %r0, %r1, %r2, %p0;",
        "and.pred %p0, %p1;",
        "not.pred %p0, %p1, %p2;",
        "set.eq.u32.u32 %r0|%p1, %r1, %r2;",
        "set.eq.u32.u32 %p0, %r1, %r2;",
        "setp.eq.u32 %r0, %r1, %r2;",
        "addc.u32 %r0|%p0, %r1, %r2;",
        "lop3.b32 %r0, %r1, %r2, %r3, 0x100;",
        "fence;",
        "membar;",
        "membar.gpu;",
        "fence.proxy.tensormap::generic.release.gpu;",
        "fence.proxy.tensormap::generic.acquire.gpu [%rd0], 128;",
        "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster;",
    ] {
        let name = instruction.split(' ').next().unwrap().trim_end_matches(';');
        let ptx = text(&format!("{instruction}\n"), 0, 0);
        let line = ptx.lines().position(|l| l == instruction).unwrap() as u32 + 1;
        let mut engine = Engine::new(Options {
            memory_bytes: 1 << 24,
            arch: 90,
            ..Options::default()
        });
        let error = engine.load(&ptx).expect_err(instruction);
        assert_eq!(error.line, line, "{instruction}: {error}");
        assert!(error.message.contains(name), "{instruction}: {error}");
    }
}
