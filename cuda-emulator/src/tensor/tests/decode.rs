use super::decode_parts;

#[test]
fn refused() {
    for opcode in [
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.col.col.f32.bf16.bf16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16",
        "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16",
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32",
        "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16",
        "mma.sync.aligned.m16n8k16.row.col.satfinite.f32.bf16.bf16.f32",
        "mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32",
        "ldmatrix.sync.aligned.m8n8.x3.shared.b16",
        "ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8",
        "ldmatrix.sync.aligned.m8n16.x1.shared.b8x16.b6x16_p32",
        "movmatrix.sync.aligned.m8n8.b16",
        "wmma.load.a.sync.aligned.row.m16n16k8.bf16",
        "wmma.load.a.sync.aligned.row.m8n8k32.s4",
        "wmma.load.d.sync.aligned.row.m16n16k16.f32",
        "wmma.mma.sync.aligned.row.col.m16n16k16.f32.bf16.f16.f32",
        "wmma.mma.xor.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32",
    ] {
        let parts: Vec<&str> = opcode.split('.').collect();
        assert!(decode_parts(&parts).is_err(), "{opcode} is accepted");
    }
}

#[test]
fn others_are_left() {
    for opcode in ["add.f32", "wgmma.fence.sync.aligned", "ld.shared.b32"] {
        let parts: Vec<&str> = opcode.split('.').collect();
        assert_eq!(decode_parts(&parts), Ok(None), "{opcode}");
    }
}
