use super::*;

#[test]
fn branch_and_guard() {
    let t = Test::new(
        "setp.lt.u32 %p1, %me, 10; @%p1 bra A; mov.u32 %r1, 2; bra B; A: mov.u32 %r1, 1; B: @!%p1 add.u32 %r1, %r1, 5; st.global.u32 [%at], %r1;",
    );
    assert_eq!(t.ok(), each(32, |i| if i < 10 { 1 } else { 7 }));
}

#[test]
fn lanes_that_parted_meet_again() {
    // Without meeting, the barrier of the warp could not be passed.
    let t = Test::new(
        "and.b32 %r1, %me, 3; mov.u32 %r2, 0;\n\
         L: add.u32 %r2, %r2, 1; sub.s32 %r1, %r1, 1; setp.ge.s32 %p1, %r1, 0; @%p1 bra L;\n\
         bar.warp.sync -1; activemask.b32 %r3; setp.eq.u32 %p2, %r3, -1; selp.u32 %r4, 100, 0, %p2; add.u32 %r2, %r2, %r4; st.global.u32 [%at], %r2;",
    );
    assert_eq!(t.ok(), each(32, |i| (i & 3) + 101));
    let counters = t.run().result.unwrap();
    assert_eq!(counters.divergent, 3);
}

#[test]
fn branch_indexed() {
    let t = Test::new(
        "and.b32 %r1, %me, 3;\nts: .branchtargets A, B, C, A;\nbrx.idx %r1, ts;\nA: mov.u32 %r2, 10; bra E;\nB: mov.u32 %r2, 11; bra E;\nC: mov.u32 %r2, 12;\nE: st.global.u32 [%at], %r2;",
    );
    assert_eq!(t.ok(), each(32, |i| [10, 11, 12, 10][i as usize & 3]));
    let t = Test::new("ts: .branchtargets A;\nbrx.idx %me, ts;\nA: ret;");
    assert_eq!(t.kind(), FaultKind::Undefined);
}

#[test]
fn exit_of_some_lanes() {
    let t = Test::new("setp.lt.u32 %p1, %me, 30; @%p1 exit; mov.u32 %r1, 9; st.global.u32 [%at], %r1;");
    assert_eq!(t.ok(), each(32, |i| if i < 30 { 0 } else { 9 }));
}

#[test]
fn trap_names_the_thread() {
    let f = Test::new("setp.eq.u32 %p1, %me, 37; @%p1 trap;").block(64).fault();
    assert_eq!((f.kind, f.thread, f.block), (FaultKind::Trap, [37, 0, 0], [0, 0, 0]));
}

#[test]
fn threads_of_all_axes() {
    let mut t = Test::new(
        "mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.y; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;\n\
         mad.lo.u32 %r6, %r2, %r3, %r1; mad.lo.u32 %r6, %r6, %r4, %r5; mul.wide.u32 %d1, %r6, 4; add.u64 %d1, %out, %d1;\n\
         shl.b32 %r7, %r2, 16; shl.b32 %r8, %r1, 8; or.b32 %r7, %r7, %r8; or.b32 %r7, %r7, %r5; st.global.u32 [%d1], %r7;",
    );
    t.block = [4, 3, 5];
    assert_eq!(t.ok(), each(60, |i| ((i / 12) << 16) | ((i / 4 % 3) << 8) | (i % 4)));
}

#[test]
fn special_registers() {
    let one = |name: &str| Test::new(&format!("mov.u32 %r1, {name}; st.global.u32 [%at], %r1;"));
    assert_eq!(one("%laneid").block(64).ok(), each(64, |i| i % 32));
    assert_eq!(one("%warpid").block(64).ok(), each(64, |i| i / 32));
    assert_eq!(one("%nwarpid").block(40).ok(), each(40, |_| 2));
    assert_eq!(one("%lanemask_eq").ok(), each(32, |i| 1 << i));
    assert_eq!(one("%lanemask_lt").ok(), each(32, |i| (1u32 << i) - 1));
    assert_eq!(one("%lanemask_le").ok(), each(32, |i| ((2u64 << i) - 1) as u32));
    assert_eq!(one("%lanemask_gt").ok(), each(32, |i| !((2u64 << i) - 1) as u32));
    assert_eq!(one("%lanemask_ge").ok(), each(32, |i| !((1u32 << i) - 1)));
    assert_eq!(one("%nctaid.x").grid(3).ok(), each(96, |_| 3));
    assert_eq!(one("%ctaid.x").grid(3).ok(), each(96, |i| i / 32));
    assert_eq!(one("%dynamic_smem_size").shared(80).ok(), each(32, |_| 80));
    assert_eq!(one("WARP_SZ").ok(), each(32, |_| 32));
    assert!(one("%tessellation").load_error().contains("%tessellation"));
}

#[test]
fn the_clock_goes_on() {
    let t = Test::new(
        "mov.u64 %d1, %clock64; mov.u32 %r1, %clock; mov.u32 %r2, %clock_hi; mov.u64 %d2, %globaltimer; setp.gt.u64 %p1, %d2, %d1; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%at], %r3;",
    );
    assert_eq!(t.ok(), each(32, |_| 1));
}

#[test]
fn moves_that_pack() {
    let t = Test::new(
        "mov.u32 %r1, 0x44332211; mov.b32 {%h1, %h2}, %r1; mov.b32 %r2, {%h2, %h1}; mov.b64 %d1, {%r1, %r2}; mov.b64 {_, %r3}, %d1;\n\
         mov.b64 {%h1, %h2, %h3, %h4}, %d1; mov.b64 %d2, {%h4, %h3, %h2, %h1}; mov.b64 {%r4, %r5}, %d2;\n\
         st.global.u32 [%out], %r2; st.global.u32 [%out+4], %r3; st.global.u32 [%out+8], %r4; st.global.u32 [%out+12], %r5;",
    );
    let all = [0x22114433, 0x22114433, 0x44332211, 0x22114433];
    assert_eq!(t.block(1).words(4).ok(), all);
}

#[test]
fn moves_of_128_bits() {
    let t = Test::new(
        ".reg .b128 %q<2>; mov.b64 %d1, 0x1111111122222222; mov.b64 %d2, 0x3333333344444444; mov.b128 %q0, {%d1, %d2}; mov.b128 %q1, %q0; st.global.b128 [%out], %q1;",
    );
    assert_eq!(
        t.block(1).words(4).ok(),
        [0x22222222, 0x11111111, 0x44444444, 0x33333333]
    );
}

#[test]
fn predicates() {
    // p1: tid < 16, p2: tid odd.
    let with = |op: &str| {
        Test::new(&format!(
            "setp.lt.u32 %p1, %me, 16; and.b32 %r1, %me, 1; setp.ne.u32 %p2, %r1, 0; {op} selp.u32 %r2, 1, 0, %p3; st.global.u32 [%at], %r2;"
        ))
        .ok()
    };
    let (p, q) = (|i: u32| i < 16, |i: u32| i % 2 == 1);
    assert_eq!(with("and.pred %p3, %p1, %p2;"), each(32, |i| (p(i) && q(i)).into()));
    assert_eq!(with("or.pred %p3, %p1, %p2;"), each(32, |i| (p(i) || q(i)).into()));
    assert_eq!(with("xor.pred %p3, %p1, %p2;"), each(32, |i| (p(i) != q(i)).into()));
    assert_eq!(with("not.pred %p3, %p1;"), each(32, |i| (!p(i)).into()));
    assert_eq!(with("mov.pred %p3, %p2;"), each(32, |i| q(i).into()));
    assert_eq!(with("mov.pred %p3, 1;"), each(32, |_| 1));
    assert_eq!(
        with("setp.lt.and.u32 %p3|%p4, %me, 8, !%p2;"),
        each(32, |i| (i < 8 && !q(i)).into())
    );
    assert_eq!(
        with("setp.lt.or.u32 %p4|%p3, %me, 8, %p2;"),
        each(32, |i| (i >= 8 || q(i)).into())
    );
}

#[test]
fn select_of_64_bits_and_immediates() {
    let t = Test::new(
        "setp.lt.u32 %p1, %me, 4; mov.u64 %d1, 7; selp.b64 %d2, %d1, 9, %p1; cvt.u32.u64 %r1, %d2; selp.f32 %r2, 0f3F800000, 0f40000000, !%p1; add.u32 %r1, %r1, %r2; st.global.u32 [%at], %r1;",
    );
    assert_eq!(
        t.ok(),
        each(32, |i| if i < 4 { 7 + 0x40000000 } else { 9 + 0x3f800000 })
    );
}

#[test]
fn carries_of_each_lane() {
    let t = Test::new("mov.u32 %r1, -1; add.cc.u32 %r2, %r1, %me; addc.u32 %r3, 0, 0; st.global.u32 [%at], %r3;");
    assert_eq!(t.ok(), each(32, |i| (i > 0).into()));
}

#[test]
fn hints_do_nothing() {
    let t = Test::new(
        "nanosleep.u32 20; pmevent 1; prefetch.global.L2 [%at]; prefetchu.L1 [%at]; griddepcontrol.wait; griddepcontrol.launch_dependents;\n\
         createpolicy.fractional.L2::evict_first.b64 %d1, 0f3F800000; ld.global.L2::cache_hint.u32 %r1, [%at], %d1; st.global.L1::no_allocate.L2::cache_hint.u32 [%at], 3, %d1;",
    );
    assert_eq!(t.ok(), each(32, |_| 3));
}

#[test]
fn unknown_instructions_and_modifiers_are_refused() {
    for (text, what) in [
        ("vadd4.u32.u32.u32 %r1, %r2, %r3, %r4;", "vadd4"),
        ("tex.1d.v4.f32.s32 {%r1,%r2,%r3,%r4}, [%d1, {%r5}];", "tex"),
        ("add.u32.odd %r1, %r2, %r3;", "odd"),
        ("ld.global.odd.u32 %r1, [%at];", "odd"),
        ("bar.sync.odd 0;", "odd"),
        ("shfl.bfly.b32 %r1, %r2, 1, 31;", "sync"),
        ("alloca.u64 %d1, 16;", "alloca"),
        ("wgmma.fence.sync.aligned;", "wgmma"),
        ("call.uni (%r1), malloc, (%d1);", "malloc"),
    ] {
        let e = Test::new(text).load_error();
        assert!(e.contains(what) && e.starts_with("PTX line "), "{text}: {e}");
    }
}

#[test]
fn the_order_of_blocks_changes_nothing() {
    let t = |seed| Test::new("st.global.u32 [%at], %me;").grid(50).seed(seed).ok();
    for seed in 0..4 {
        assert_eq!(t(seed), each(1600, |i| i));
    }
}

#[test]
fn counters_do_not_depend_on_threads() {
    let t = |threads| {
        let body =
            "ld.global.u32 %r1, [%at]; setp.lt.u32 %p1, %me, 700; @%p1 add.u32 %r1, %r1, 1; st.global.u32 [%at], %r1;";
        Test::new(body).grid(33).threads(threads).run().result.unwrap()
    };
    assert_eq!(t(1), t(2));
    assert_eq!(t(1).blocks, 33);
}

#[test]
fn a_loop_without_end_is_stopped() {
    let mut t = Test::new("L: bra L;");
    t.options.max_steps = 100_000;
    assert_eq!(t.kind(), FaultKind::Timeout);
}

#[test]
fn launches_that_cannot_be() {
    assert_eq!(Test::new("").block(1025).words(4).kind(), FaultKind::Launch);
    let mut t = Test::new("");
    t.block = [0, 1, 1];
    assert_eq!(t.words(4).kind(), FaultKind::Launch);
}

#[test]
fn a_fault_names_the_source() {
    let t = Test::new(".loc 1 42 3\ntrap;").outside(".file 1 \"folder/name.cu\"");
    let f = t.fault();
    assert_eq!(f.source, Some(("name.cu".to_string(), 42)));
    let line = t.text().lines().position(|l| l.starts_with("trap")).unwrap() as u32 + 1;
    assert_eq!(f.ptx_line, line);
    let shown = f.to_string();
    assert!(
        shown.contains("name.cu:42") && shown.contains("kernel k") && shown.contains("look for"),
        "{shown}"
    );
}

#[test]
fn lanes_of_a_warp_may_wait_for_each_other() {
    // A lock that each lane takes in turn: the lane that holds it must get on while the others spin.
    let t = Test::new(
        "setp.ne.u32 %p9, 0, 0;\nL: atom.global.cas.b32 %r1, [%out], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra L;\n\
         ld.volatile.global.u32 %r2, [%out+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%out+4], %r2; fence.acq_rel.gpu; atom.global.exch.b32 %r3, [%out], 0;",
    );
    assert_eq!(t.words(2).ok(), [0, 32]);
}

#[test]
fn blocks_may_wait_for_each_other() {
    // Each block waits until all have come: a barrier of the grid.
    let t = Test::new(
        "setp.ne.u32 %p1, %n, 0; @%p1 bra D; atom.add.release.gpu.global.u32 %r1, [%out], 1;\n\
         L: ld.acquire.gpu.global.u32 %r2, [%out]; setp.lt.u32 %p2, %r2, 6; @%p2 bra L; D: bar.sync 0;",
    );
    for seed in 0..3 {
        let mut t = Test {
            options: Options {
                seed,
                max_steps: 10_000_000,
                ..Options::default()
            },
            ..Test::new(&t.body)
        };
        t.grid = [6, 1, 1];
        assert_eq!(t.block(64).words(1).ok(), [6]);
    }
}

#[test]
fn registers_hold_nothing_of_the_block_before() {
    // Each way to write a register that some lanes or blocks do not take.
    for way in [
        "@%p1 bra W; mov.u32 %r5, 7; mov.u64 %d5, 7; W:",
        "@!%p1 mov.u32 %r5, 7; @!%p1 mov.u64 %d5, 7;",
        "@%p1 bra W; L: mov.u32 %r5, 7; mov.u64 %d5, 7; setp.ne.u32 %p2, %r5, 7; @%p2 bra L; W:",
        "selp.u32 %r6, 0, 1, %p1; S: .branchtargets A, W; brx.idx %r6, S; A: bra.uni E; W: mov.u32 %r5, 7; mov.u64 %d5, 7; E:",
    ] {
        let body = format!("setp.ne.u32 %p1, %me, 0; {way} cvt.u32.u64 %r7, %d5; st.global.v2.u32 [%o], {{%r5, %r7}};");
        let body = format!("mul.wide.u32 %o, %me, 8; add.u64 %o, %out, %o; {body}");
        let words = Test::new(&body).block(1).grid(3).words(6).threads(1).ok();
        let poison = [0xcafe_babe, 0xdead_beef];
        assert_eq!(words, [[7, 7], poison, poison].concat(), "{way}");
    }
}

#[test]
fn a_block_that_synchronises_too_often_is_stopped() {
    let body = "mov.u32 %r1, 0; L: bar.sync 0; add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 262200; @%p1 bra L; st.global.u32 [%at], %r1;";
    let f = Test::new(body).fault();
    assert!(
        f.kind == FaultKind::Timeout && f.message.contains("synchronised"),
        "{f}"
    );
    let mut t = Test::new(body);
    t.options.checks.race = false;
    assert_eq!(t.ok(), each(32, |_| 262200));
    // Stores that release count once for all their lanes.
    let body = body
        .replace("bar.sync 0;", "st.release.gpu.global.u32 [%at], 1;")
        .replace("262200", "20000");
    assert_eq!(Test::new(&body).ok(), each(32, |_| 20_000));
}

#[test]
fn more_blocks_than_the_device_holds_must_not_wait_for_each_other() {
    // All wait for the last one. With so much shared memory the device holds 108, one on each multiprocessor.
    let t = |blocks: u32| {
        Test::new(
            "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; sub.u32 %r2, %r2, 1; setp.ne.u32 %p1, %r1, %r2; @%p1 bra L; st.relaxed.gpu.global.u32 [%out], 1; bra E;\n\
             L: nanosleep.u32 100; ld.relaxed.gpu.global.u32 %r3, [%out]; setp.eq.u32 %p2, %r3, 0; @%p2 bra L; E: ",
        )
        .shared(160 << 10)
        .grid(blocks)
        .words(1)
    };
    assert_eq!(t(108).ok(), [1]);
    let f = t(109).fault();
    assert!(
        f.kind == FaultKind::Deadlock && f.message.contains("108 blocks at a time"),
        "{f}"
    );
}
