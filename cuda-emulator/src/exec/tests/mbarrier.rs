use super::*;

const HEAD: &str = ".shared .align 8 .b8 b[8]; .shared .align 4 .b8 s[256]; mov.u32 %r1, s; shl.b32 %r2, %me, 2; add.u32 %r2, %r1, %r2; setp.eq.u32 %p1, %me, 0; @%p1 mbarrier.init.shared::cta.b64 [b], COUNT; bar.sync 0;\n";

fn test(count: &str, body: &str) -> Test {
    Test::new(&format!("{}{body}", HEAD.replace("COUNT", count))).block(64)
}

/// Write, arrive, wait, read what the other warp wrote.
fn exchange(wait: &str) -> Test {
    test(
        "64",
        &format!(
            "st.shared.u32 [%r2], %me; mbarrier.arrive.shared.b64 %d1, [b]; {wait}\n\
             xor.b32 %r3, %me, 32; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r4, [%r3]; st.global.u32 [%at], %r4;"
        ),
    )
}

#[test]
fn arrivals_and_waits_order_memory() {
    for wait in [
        "L: mbarrier.test_wait.shared.b64 %p2, [b], %d1; @!%p2 bra L;",
        "L: mbarrier.try_wait.shared::cta.b64 %p2, [b], %d1; @!%p2 bra L;",
        "L: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p2, [b], 0, 1000; @!%p2 bra L;",
        "mov.u64 %d2, b; cvta.shared.u64 %d2, %d2; L: mbarrier.test_wait.parity.b64 %p2, [%d2], 0; @!%p2 bra L;",
    ] {
        for seed in 0..3 {
            assert_eq!(exchange(wait).seed(seed).ok(), each(64, |i| i ^ 32), "{wait}");
        }
    }
    let kind = exchange("mbarrier.test_wait.shared.b64 %p2, [b], %d1;").kind();
    assert!(
        matches!(kind, FaultKind::SharedRace | FaultKind::Uninitialised),
        "{kind:?}"
    );
}

#[test]
fn phases_follow_each_other() {
    // The phase before the first counts as complete: its parity is 1.
    let t = test(
        "64",
        "mbarrier.test_wait.parity.shared.b64 %p2, [b], 1; selp.u32 %r9, 1, 0, %p2; mbarrier.test_wait.parity.shared.b64 %p2, [b], 0; @%p2 trap; bar.sync 0;\n\
         mbarrier.arrive.shared.b64 _, [b]; L: mbarrier.try_wait.parity.shared.b64 %p2, [b], 0; @!%p2 bra L;\n\
         mbarrier.test_wait.parity.shared.b64 %p2, [b], 1; @%p2 trap; bar.sync 0; mbarrier.arrive.shared.b64 %d1, [b]; M: mbarrier.try_wait.parity.shared.b64 %p2, [b], 1; @!%p2 bra M; st.global.u32 [%at], %r9;",
    );
    assert_eq!(t.ok(), each(64, |_| 1));
}

#[test]
fn counts_and_bytes() {
    // One arrival with bytes; the phase is complete when they have come.
    let t = test(
        "1",
        "@!%p1 bra W; mbarrier.arrive.expect_tx.shared::cta.b64 %d1, [b], 96; mbarrier.pending_count.b64 %r5, %d1; mbarrier.test_wait.shared.b64 %p2, [b], %d1; @%p2 trap;\n\
         mbarrier.complete_tx.shared::cta.relaxed.cta.b64 [b], 64; mbarrier.complete_tx.shared::cta.relaxed.cta.b64 [b], 32; mbarrier.test_wait.shared.b64 %p2, [b], %d1; @!%p2 trap; st.global.u32 [%at], %r5;\n W: bar.sync 0;",
    );
    assert_eq!(t.ok(), each(64, |i| (i == 0).into()));
    // Two of three arrive at once, one drops out; then two are enough.
    let t = test(
        "3",
        "@!%p1 bra W; mbarrier.arrive.noComplete.shared.b64 %d1, [b], 2; mbarrier.arrive_drop.shared.b64 %d2, [b]; mbarrier.test_wait.shared.b64 %p2, [b], %d1; @!%p2 trap;\n\
         mbarrier.arrive.shared.b64 %d1, [b], 2; mbarrier.test_wait.shared.b64 %p2, [b], %d1; @!%p2 trap; mbarrier.inval.shared.b64 [b];\n W: bar.sync 0; st.global.u32 [%at], 1;",
    );
    assert_eq!(t.ok(), each(64, |_| 1));
    assert_eq!(
        test("2", "mbarrier.arrive.shared.b64 _, [b], 3;").kind(),
        FaultKind::Undefined
    );
    assert_eq!(test("0", "").kind(), FaultKind::Undefined);
}

#[test]
fn copies_arrive() {
    let t = test(
        "64",
        "cp.async.ca.shared.global [%r2], [%at], 4; cp.async.mbarrier.arrive.noinc.shared::cta.b64 [b]; L: mbarrier.try_wait.parity.shared.b64 %p2, [b], 0; @!%p2 bra L;\n\
         xor.b32 %r3, %me, 32; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3; ld.shared.u32 %r4, [%r3]; bar.sync 0; st.global.u32 [%at], %r4;",
    );
    assert_eq!(t.init(&each(64, |i| i + 5)).ok(), each(64, |i| (i ^ 32) + 5));
}

#[test]
fn bytes_beyond_what_the_object_holds() {
    let t = |text: &str| test("1", &format!("@!%p1 bra W; {text} W: bar.sync 0;"));
    let expect = "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [b], 1048575;";
    assert!(t(expect).run().result.is_ok());
    for text in [
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [b], 1048576;",
        "mbarrier.arrive.expect_tx.shared::cta.b64 %d1, [b], 2097152;",
        "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [b], 1048576;",
        &format!("{expect} mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [b], 1;"),
    ] {
        let f = t(text).fault();
        assert!(
            f.kind == FaultKind::Undefined && f.message.contains("bytes are missing"),
            "{text}: {f}"
        );
    }
}
