use super::*;

fn word(body: &str) -> Vec<u32> {
    Test::new(&format!("{body} st.global.u32 [%at], %r1;")).ok()
}

#[test]
fn shuffles() {
    assert_eq!(word("shfl.sync.bfly.b32 %r1, %me, 5, 31, -1;"), each(32, |i| i ^ 5));
    assert_eq!(
        word("shfl.sync.up.b32 %r1, %me, 3, 0, -1;"),
        each(32, |i| if i < 3 { i } else { i - 3 })
    );
    assert_eq!(
        word("shfl.sync.down.b32 %r1, %me, 3, 31, -1;"),
        each(32, |i| if i > 28 { i } else { i + 3 })
    );
    assert_eq!(word("shfl.sync.idx.b32 %r1, %me, 9, 31, -1;"), each(32, |_| 9));
    // Segments of 8 lanes: c = (32 - 8) << 8 | 7.
    assert_eq!(
        word("shfl.sync.idx.b32 %r1, %me, 2, 0x181F, -1;"),
        each(32, |i| (i & 24) + 2)
    );
    assert_eq!(
        word("shfl.sync.down.b32 %r1, %me, 3, 0x181F, -1;"),
        each(32, |i| if i % 8 > 4 { i } else { i + 3 })
    );
    let p = "shfl.sync.up.b32 %r2|%p1, %me, 4, 0, -1; selp.u32 %r1, 1, 0, %p1;";
    assert_eq!(word(p), each(32, |i| (i >= 4).into()));
}

#[test]
fn votes() {
    let t = |op: &str| word(&format!("setp.lt.u32 %p1, %me, 3; {op} selp.u32 %r1, 1, 0, %p2;"));
    assert_eq!(t("vote.sync.all.pred %p2, %p1, -1;"), each(32, |_| 0));
    assert_eq!(t("vote.sync.any.pred %p2, %p1, -1;"), each(32, |_| 1));
    assert_eq!(t("vote.sync.uni.pred %p2, %p1, -1;"), each(32, |_| 0));
    assert_eq!(t("vote.sync.uni.pred %p2, 1, -1;"), each(32, |_| 1));
    assert_eq!(
        word("setp.lt.u32 %p1, %me, 3; vote.sync.ballot.b32 %r1, !%p1, -1;"),
        each(32, |_| !7)
    );
}

#[test]
fn matches() {
    let t = word("and.b32 %r2, %me, 7; match.any.sync.b32 %r1, %r2, -1;");
    assert_eq!(t, each(32, |i| 0x01010101 << (i & 7)));
    let t = word("setp.ge.u32 %p1, %me, 16; selp.b64 %d1, 0x100000000, 0, %p1; match.any.sync.b64 %r1, %d1, -1;");
    assert_eq!(t, each(32, |i| if i < 16 { 0xffff } else { 0xffff_0000 }));
    assert_eq!(
        word("match.all.sync.b32 %r2|%p1, %me, -1; selp.u32 %r1, 1, %r2, %p1;"),
        each(32, |_| 0)
    );
    assert_eq!(
        word("mov.u64 %d1, 3; match.all.sync.b64 %r1|%p1, %d1, -1;"),
        each(32, |_| u32::MAX)
    );
}

#[test]
fn reductions_of_a_warp() {
    let t = |op: &str| word(&format!("sub.s32 %r2, %me, 3; redux.sync.{op} %r1, %r2, -1;"))[31];
    assert_eq!(t("add.s32"), 31 * 16 - 96);
    assert_eq!(t("add.u32"), 31 * 16 - 96);
    assert_eq!(t("min.s32"), 3u32.wrapping_neg());
    assert_eq!(t("min.u32"), 0);
    assert_eq!(t("max.s32"), 28);
    assert_eq!(t("max.u32"), u32::MAX);
    assert_eq!(t("and.b32"), 0);
    assert_eq!(t("or.b32"), u32::MAX);
    // -3, -2, -1, 0 … 28: the exclusive or of 0 … 28 is 28, of the others -3 ^ -2 ^ -1 = -4.
    assert_eq!(t("xor.b32"), 28 ^ 4u32.wrapping_neg());
}

#[test]
fn election() {
    let t = Test::new(
        "setp.lt.u32 %p1, %me, 5; @%p1 bra E; elect.sync %r1|%p2, 0xFFFFFFE0; selp.u32 %r2, 100, 0, %p2; add.u32 %r1, %r1, %r2; st.global.u32 [%at], %r1;\nE:",
    );
    assert_eq!(
        t.ok(),
        each(32, |i| if i < 5 {
            0
        } else if i == 5 {
            105
        } else {
            5
        })
    );
}

#[test]
fn some_lanes_only() {
    let body = "setp.lt.u32 %p1, %me, 8; @%p1 bra A; shfl.sync.bfly.b32 %r1, %me, 16, 31, 0xFFFFFF00; bra E; A: shfl.sync.bfly.b32 %r1, %me, 1, 31, 0xFF; E: st.global.u32 [%at], %r1;";
    // Lanes 8 to 15 read lanes 24 to 31; lanes 16 to 23 would read lanes 0 to 7, which do not take part.
    let f = Test::new(body).fault();
    assert_eq!((f.kind, f.thread[0]), (FaultKind::WarpSync, 16));
    let body = body.replace("%me, 16, 31", "%me, 7, 31");
    assert_eq!(Test::new(&body).ok(), each(32, |i| if i < 8 { i ^ 1 } else { i ^ 7 }));
}

#[test]
fn a_mask_names_lanes_that_never_come() {
    let t = Test::new("setp.lt.u32 %p1, %me, 8; @%p1 bra E; shfl.sync.bfly.b32 %r1, %me, 1, 31, -1; E: bar.sync 0;");
    let f = t.fault();
    assert!(
        matches!(f.kind, FaultKind::WarpSync | FaultKind::DivergentBarrier),
        "{f}"
    );
    assert!(
        f.message.contains("0xffffff00") && f.message.contains("0x000000ff"),
        "{f}"
    );
}

#[test]
fn a_lane_outside_its_own_mask() {
    let f = Test::new("vote.sync.any.pred %p1, 1, 0xFFFF;").fault();
    assert_eq!((f.kind, f.thread[0]), (FaultKind::WarpSync, 16));
    let f = Test::new("setp.lt.u32 %p1, %me, 4; selp.b32 %r1, 0xF, 0xFFFFFFFF, %p1; bar.warp.sync %r1;").fault();
    assert_eq!(f.kind, FaultKind::WarpSync);
}

#[test]
fn a_warp_synchronises_from_different_places() {
    // bar.warp.sync orders memory among the lanes, wherever each executes it.
    let t = Test::new(
        ".shared .align 4 .b8 s[128]; mov.u32 %r1, s; shl.b32 %r2, %me, 2; add.u32 %r2, %r1, %r2; setp.lt.u32 %p1, %me, 9; @%p1 bra A;\n\
         st.shared.u32 [%r2], %me; bar.warp.sync -1; bra B; A: add.u32 %r3, %me, 100; st.shared.u32 [%r2], %r3; bar.warp.sync -1;\n\
         B: xor.b32 %r4, %me, 31; shl.b32 %r4, %r4, 2; add.u32 %r4, %r1, %r4; ld.shared.u32 %r5, [%r4]; st.global.u32 [%at], %r5;",
    );
    assert_eq!(
        t.ok(),
        each(32, |i| {
            let j = i ^ 31;
            if j < 9 { j + 100 } else { j }
        })
    );
}

#[test]
fn matrices_of_shared_memory() {
    // A matrix of 8 rows of 8 halves, the element at (i, j) is 8 i + j. Thread t holds (t / 4, 2 (t % 4)) and its neighbour.
    let fill = ".shared .align 16 .b8 s[128]; mov.u32 %r1, s; shl.b32 %r2, %me, 2; add.u32 %r2, %r1, %r2; shl.b32 %r3, %me, 1; add.u32 %r4, %r3, 1; mov.b32 %r5, {%h1, %h2}; cvt.u16.u32 %h1, %r3; cvt.u16.u32 %h2, %r4; mov.b32 %r5, {%h1, %h2}; st.shared.b32 [%r2], %r5; bar.sync 0; and.b32 %r6, %me, 7; shl.b32 %r6, %r6, 4; add.u32 %r6, %r1, %r6;";
    let row = each(32, |t| ((2 * t + 1) << 16) | (2 * t));
    let t = word(&format!(
        "{fill} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r1}}, [%r6];"
    ));
    assert_eq!(t, row);
    let column = each(32, |t| {
        let (g, c) = (t / 4, 2 * (t % 4));
        (8 * (c + 1) + g) << 16 | (8 * c + g)
    });
    let t = word(&format!(
        "{fill} ldmatrix.sync.aligned.m8n8.x1.trans.shared::cta.b16 {{%r1}}, [%r6];"
    ));
    assert_eq!(t, column);
    let t = word(&format!(
        "{fill} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r7}}, [%r6]; movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r7;"
    ));
    assert_eq!(t, column);
    let t = word(&format!(
        "{fill} ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {{%r7}}, [%r6]; bar.warp.sync -1; stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r6], {{%r7}}; bar.warp.sync -1; ld.shared.u32 %r1, [%r2];"
    ));
    assert_eq!(t, column);
}

#[test]
fn a_product_of_ones() {
    // 16 ones times 16 ones in bf16, plus the lane's number.
    let t = word(
        "mov.b32 %r2, 0x3F803F80; cvt.rn.f32.u32 %r3, %me; mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r4,%r5,%r6,%r7}, {%r2,%r2,%r2,%r2}, {%r2,%r2}, {%r3,%r3,%r3,%r3}; cvt.rzi.u32.f32 %r1, %r7;",
    );
    assert_eq!(t, each(32, |i| i + 16));
    let f = Test::new("setp.lt.u32 %p1, %me, 31; @%p1 mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%r4,%r5,%r6,%r7}, {%r2,%r2}, {%r2}, {%r3,%r3,%r3,%r3};").fault();
    assert_eq!(f.kind, FaultKind::WarpSync);
}

#[test]
fn tiles_of_memory_to_fragments_and_back() {
    // A 16 x 16 matrix of f32 goes through a fragment and comes out transposed.
    let t = Test::new(
        "wmma.load.c.sync.aligned.row.m16n16k16.global.f32 {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, [%out], 16; bar.warp.sync -1; wmma.store.d.sync.aligned.col.m16n16k16.global.f32 [%out], {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, 16;",
    );
    let t = t.words(256).init(&each(256, |i| i));
    assert_eq!(t.ok(), each(256, |i| 16 * (i % 16) + i / 16));
    // Ones of bf16 from shared memory, multiplied.
    let t = Test::new(
        ".shared .align 32 .b8 s[512]; mov.u32 %r1, s; shl.b32 %r2, %me, 4; add.u32 %r2, %r1, %r2; mov.b32 %r3, 0x3F803F80; st.shared.v4.b32 [%r2], {%r3,%r3,%r3,%r3}; bar.sync 0; mov.f32 %r9, 0f00000000; mov.u32 %r30, 16;\n\
         wmma.load.a.sync.aligned.row.m16n16k16.shared.bf16 {%r11,%r12,%r13,%r14}, [%r1], %r30; wmma.load.b.sync.aligned.col.m16n16k16.shared.bf16 {%r15,%r16,%r17,%r18}, [%r1], %r30;\n\
         wmma.mma.sync.aligned.row.col.m16n16k16.f32.bf16.bf16.f32 {%r21,%r22,%r23,%r24,%r25,%r26,%r27,%r28}, {%r11,%r12,%r13,%r14}, {%r15,%r16,%r17,%r18}, {%r9,%r9,%r9,%r9,%r9,%r9,%r9,%r9};\n\
         wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%out], {%r21,%r22,%r23,%r24,%r25,%r26,%r27,%r28}, %r30;",
    );
    assert_eq!(t.words(256).ok(), each(256, |_| 16f32.to_bits()));
}
