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
