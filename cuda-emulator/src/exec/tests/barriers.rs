use super::*;

/// Every warp writes, then reads what another wrote.
const SWAP: &str = ".shared .align 4 .b8 s[1024]; mov.u32 %r1, s; shl.b32 %r2, %me, 2; add.u32 %r2, %r1, %r2; st.shared.u32 [%r2], %me;\n\
    BARRIER\n xor.b32 %r3, %me, 32; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r4, [%r3]; st.global.u32 [%at], %r4;";

#[test]
fn all_threads_of_a_block() {
    for barrier in [
        "bar.sync 0;",
        "barrier.sync 3;",
        "barrier.cta.sync.aligned 15;",
        "bar.sync 1, 256;",
    ] {
        for seed in 0..3 {
            let t = Test::new(&SWAP.replace("BARRIER", barrier)).block(256).seed(seed);
            assert_eq!(t.ok(), each(256, |i| i ^ 32), "{barrier}");
        }
    }
}

#[test]
fn without_it_there_is_a_race() {
    for seed in 0..3 {
        let kind = Test::new(&SWAP.replace("BARRIER", "")).block(64).seed(seed).kind();
        assert!(
            matches!(kind, FaultKind::SharedRace | FaultKind::Uninitialised),
            "{kind:?}"
        );
    }
}

#[test]
fn some_warps_only() {
    // Warps 0, 1 and warps 2, 3 meet at barriers of their own.
    let barrier = "shr.u32 %r5, %me, 6; add.u32 %r5, %r5, 1; bar.sync %r5, 64;";
    assert_eq!(
        Test::new(&SWAP.replace("BARRIER", barrier)).block(128).ok(),
        each(128, |i| i ^ 32)
    );
}

#[test]
fn a_producer_arrives_and_goes_on() {
    // Warp 0 writes and arrives; warp 1 waits and reads.
    let t = Test::new(
        ".shared .align 4 .b8 s[128]; mov.u32 %r1, s; and.b32 %r2, %me, 31; shl.b32 %r2, %r2, 2; add.u32 %r1, %r1, %r2; setp.ge.u32 %p1, %me, 32; @%p1 bra C;\n\
         st.shared.u32 [%r1], %me; bar.arrive 2, 64; ret;\n C: bar.sync 2, 64; ld.shared.u32 %r3, [%r1]; st.global.u32 [%at], %r3;",
    );
    for seed in 0..4 {
        let t = Test {
            options: Options {
                seed,
                ..Options::default()
            },
            ..Test::new(&t.body)
        };
        assert_eq!(t.block(64).ok(), each(64, |i| i.saturating_sub(32)));
    }
}

#[test]
fn reductions() {
    let t = |op: &str| {
        Test::new(&format!("setp.lt.u32 %p1, %me, 40; {op} st.global.u32 [%at], %r1;"))
            .block(100)
            .ok()
    };
    assert_eq!(t("bar.red.popc.u32 %r1, 0, %p1;"), each(100, |_| 40));
    assert_eq!(t("barrier.cta.red.popc.aligned.u32 %r1, 0, !%p1;"), each(100, |_| 60));
    assert_eq!(
        t("bar.red.and.pred %p2, 0, %p1; selp.u32 %r1, 1, 0, %p2;"),
        each(100, |_| 0)
    );
    assert_eq!(
        t("bar.red.or.pred %p2, 0, %p1; selp.u32 %r1, 1, 0, %p2;"),
        each(100, |_| 1)
    );
    assert_eq!(
        t("bar.red.and.pred %p2, 0, 1; selp.u32 %r1, 1, 0, %p2;"),
        each(100, |_| 1)
    );
}

#[test]
fn threads_that_have_ended_are_not_waited_for() {
    let t = Test::new("setp.gt.u32 %p1, %me, 70; @%p1 exit; bar.sync 0; st.global.u32 [%at], 1;").block(128);
    assert_eq!(t.ok(), each(128, |i| (i <= 70).into()));
}

#[test]
fn a_barrier_some_lanes_never_reach() {
    let t = Test::new("setp.lt.u32 %p1, %me, 5; @%p1 bra A; bar.sync 0; bra B; A: bar.sync 0; B:").block(64);
    let f = t.fault();
    assert_eq!(f.kind, FaultKind::DivergentBarrier);
    assert!(f.message.contains("PTX line"), "{}", f.message);
}

#[test]
fn lanes_may_come_apart_to_a_barrier_that_is_not_aligned() {
    let body =
        "setp.lt.u32 %p1, %me, 5; @%p1 bra A; barrier.sync 0; bra B; A: barrier.sync 0; B: st.global.u32 [%at], 1;";
    assert_eq!(Test::new(body).block(64).ok(), each(64, |_| 1));
}

#[test]
fn a_barrier_one_warp_never_reaches() {
    let f = Test::new("setp.lt.u32 %p1, %me, 32; @%p1 bra A; bar.sync 1; bra B; A: bar.sync 2; B:")
        .block(64)
        .fault();
    assert_eq!(f.kind, FaultKind::Deadlock);
    assert!(
        f.message.contains("warp 0 at PTX line") && f.message.contains("warp 1 at PTX line"),
        "{}",
        f.message
    );
    let f = Test::new("setp.lt.u32 %p1, %me, 32; @%p1 ret; bar.sync 1, 64;")
        .block(64)
        .fault();
    assert_eq!(f.kind, FaultKind::Deadlock);
    assert!(f.message.contains("0 have ended"), "{}", f.message);
}

#[test]
fn numbers_that_cannot_be() {
    for body in ["bar.sync 16;", "bar.sync 0, 33;", "bar.sync %me;"] {
        assert_eq!(Test::new(body).kind(), FaultKind::DivergentBarrier, "{body}");
    }
}

#[test]
fn a_barrier_under_a_guard() {
    // The warps whose lanes all skip it do not take part.
    let t = Test::new("setp.lt.u32 %p1, %me, 64; @%p1 bar.sync 0, 64; st.global.u32 [%at], 1;").block(128);
    assert_eq!(t.ok(), each(128, |_| 1));
    let t = Test::new("setp.lt.u32 %p1, %me, 7; @%p1 bar.sync 0; bar.sync 0;").block(32);
    assert_eq!(t.kind(), FaultKind::DivergentBarrier);
}

#[test]
fn the_places_of_lanes_are_named_in_the_source() {
    let t = Test::new(
        "setp.lt.u32 %p1, %me, 5; @%p1 bra A;\n.loc 2 9 1, function_name $L__info, inlined_at 1 70 3\nbar.sync 0; bra B;\n.loc 1 80 1\nA: bar.sync 0; B:",
    );
    let f = t.outside(".file 1 \"src/k.cu\"\n.file 2 \"lib/h.cuh\"").fault();
    assert!(
        f.message.contains("at h.cuh:9 (inlined at k.cu:70, PTX line"),
        "{}",
        f.message
    );
    assert!(f.message.contains("at k.cu:80 (PTX line"), "{}", f.message);
}
