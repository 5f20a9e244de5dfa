//! Bulk copies and copies of boxes of tensors, as the ISA describes them: which bytes go where, which mistakes are found.

use super::harness::assemble;
use cuda_emulator::counters::Counters;
use cuda_emulator::engine::{Engine, Launch, Options};
use cuda_emulator::fault::{Fault, FaultKind};
use cuda_emulator::memory::Kind;
use cuda_emulator::tensor::map::TensorMap;
use cuda_emulator::tensor::wgmma::Swizzle;

/// Bytes of the buffers and of shared memory.
const BYTES: usize = 8192;

/// A kernel with a tensor map, an input of bytes 0, 1, … and an output of bytes 0xee. In the body `%in` and `%out` are their addresses,
/// `%map` is that of the map, `%x` the thread; `tile` has 8192 bytes and `bar` is an mbarrier of one arrival.
struct Test {
    body: String,
    map: TensorMap,
    threads: u32,
}

fn map(element: u64, sizes: &[u64], strides: &[u64], extent: &[u32], swizzle: Swizzle) -> TensorMap {
    let rank = sizes.len();
    let mut map = TensorMap {
        rank,
        element,
        address: 0,
        sizes: [1; 5],
        strides: [0; 5],
        extent: [1; 5],
        steps: [1; 5],
        swizzle,
    };
    map.sizes[..rank].copy_from_slice(sizes);
    map.strides[0] = element;
    map.strides[1..rank].copy_from_slice(strides);
    map.extent[..rank].copy_from_slice(extent);
    map
}

fn byte(i: usize) -> u8 {
    (i % 251) as u8
}

impl Test {
    fn new(body: &str) -> Test {
        Test {
            body: body.into(),
            map: map(1, &[16], &[], &[16], Swizzle::None),
            threads: 32,
        }
    }

    fn run(&self) -> Result<(Vec<u8>, Counters), Box<Fault>> {
        let text = format!(
            ".version 9.0\n.target sm_90a\n.address_size 64\n\
             .visible .entry test(.param .u64 in, .param .u64 out, .param .align 64 .b8 map[128])\n{{\n\
             .reg .pred %p<4>;\n.reg .b32 %r<9>, %x;\n.reg .b64 %in, %out, %map, %d<9>;\n\
             .shared .align 1024 .b8 tile[{BYTES}];\n.shared .align 8 .b64 bar;\n\
             ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nmov.b64 %map, map;\ncvta.param.u64 %map, %map;\nmov.u32 %x, %tid.x;\n\
             setp.eq.u32 %p0, %x, 0;\n@%p0 mbarrier.init.shared::cta.b64 [bar], 1;\n@%p0 fence.mbarrier_init.release.cluster;\nbar.sync 0;\n\
             {}\nret;\n}}\n",
            self.body
        );
        assemble(&self.body, &text);
        let mut engine = Engine::new(Options {
            memory_bytes: 1 << 24,
            threads: 1,
            arch: 90,
            ..Options::default()
        });
        let module = engine.load(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let from = engine.memory.allocate(BYTES as u64, Kind::Plain).unwrap();
        let to = engine.memory.allocate(BYTES as u64, Kind::Plain).unwrap();
        engine
            .memory
            .write(from, &(0..BYTES).map(byte).collect::<Vec<_>>())
            .unwrap();
        engine.memory.write(to, &[0xee; BYTES]).unwrap();
        let mut map = self.map;
        // Maps with an address of 1 are of the output.
        map.address = if map.address == 0 { from } else { to };
        let mut params = [from, to].map(u64::to_le_bytes).concat();
        params.resize(64, 0);
        params.extend(map.encode().iter().flat_map(|w| w.to_le_bytes()));
        let launch = Launch {
            grid: [1; 3],
            block: [self.threads, 1, 1],
            dynamic_shared: 0,
            params: &params,
        };
        let counters = engine.launch(&module.kernels["test"], launch)?;
        let mut result = vec![0; BYTES];
        engine.memory.read(to, &mut result).unwrap();
        Ok((result, counters))
    }

    fn ok(&self) -> (Vec<u8>, Counters) {
        self.run().unwrap_or_else(|f| panic!("{f}\n{}", self.body))
    }

    #[track_caller]
    fn fails(&self, kind: FaultKind, words: &str) {
        let f = self.run().expect_err(&self.body);
        assert_eq!(f.kind, kind, "{f}\n{}", self.body);
        assert!(f.message.contains(words), "{f}");
    }
}

/// Every lane waits for phase 0.
const WAIT: &str = "W: mbarrier.try_wait.parity.shared::cta.b64 %p1, [bar], 0;\n@!%p1 bra W;\n";

/// The warp copies `n` bytes of `tile` to the output.
fn dump(n: usize) -> String {
    format!(
        "mov.u32 %r1, %x;\nD: cvt.u64.u32 %d1, %r1;\nadd.u64 %d1, %d1, %out;\nmov.u32 %r2, tile;\nadd.u32 %r2, %r2, %r1;\n\
         ld.shared.u8 %r3, [%r2];\nst.global.u8 [%d1], %r3;\nadd.u32 %r1, %r1, 32;\nsetp.lt.u32 %p2, %r1, {n};\n@%p2 bra D;\n"
    )
}

fn expect(bytes: usize) -> String {
    format!("@%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], {bytes};\n")
}

#[test]
fn bytes_to_shared_memory() {
    for space in ["shared::cluster", "shared::cta"] {
        let t = Test::new(&format!(
            "{}mov.u32 %r0, 96;\n@%p0 cp.async.bulk.{space}.global.mbarrier::complete_tx::bytes [tile], [%in+32], %r0, [bar];\n\
             @%p0 cp.async.bulk.{space}.global.mbarrier::complete_tx::bytes [tile+96], [%in+512], 32, [bar];\n{WAIT}{}",
            expect(128),
            dump(128)
        ));
        let (out, c) = t.ok();
        for (i, &got) in out[..128].iter().enumerate() {
            assert_eq!(got, byte(if i < 96 { 32 + i } else { 512 + i - 96 }), "byte {i}");
        }
        // Two requests of 3 and 1 sectors, one pass through the banks each.
        assert_eq!((c.load.requests, c.load.sectors, c.load.distinct), (2, 4, 4));
        assert_eq!((c.load.useful_bytes, c.copy_bytes), (128, 128));
        assert_eq!(c.shared_store.wavefronts, c.shared_store.ideal);
    }
}

#[test]
fn bytes_from_shared_memory() {
    let store = |fence: &str, wait: &str| {
        Test::new(&format!(
            "mov.u32 %r1, tile;\nmad.lo.u32 %r2, %x, 4, %r1;\nst.shared.u32 [%r2], %x;\n{fence}bar.warp.sync 0xffffffff;\n\
             @%p0 cp.async.bulk.global.shared::cta.bulk_group [%out+64], [tile], 128;\n@%p0 cp.async.bulk.commit_group;\n{wait}"
        ))
    };
    let fence = "fence.proxy.async.shared::cta;\n";
    for wait in ["wait_group 0", "wait_group.read 0"] {
        let (out, c) = store(fence, &format!("@%p0 cp.async.bulk.{wait};\n")).ok();
        for i in 0..32 {
            assert_eq!(out[64 + 4 * i..68 + 4 * i], (i as u32).to_le_bytes());
        }
        assert_eq!((out[63], out[192]), (0xee, 0xee));
        assert_eq!((c.store.requests, c.store.sectors, c.store.distinct), (1, 4, 4));
    }
    store("", "@%p0 cp.async.bulk.wait_group 0;\n").fails(FaultKind::Proxy, "no fence.proxy.async");
    store(fence, "").fails(FaultKind::InFlight, "wait_group");
    // The source may not be written before it was read.
    let late = "st.shared.u32 [%r2], 7;\n@%p0 cp.async.bulk.wait_group 0;\n";
    store(fence, late).fails(FaultKind::InFlight, "still reads");
    let soon = "@%p0 cp.async.bulk.wait_group.read 0;\nbar.warp.sync 0xffffffff;\nst.shared.u32 [%r2], 7;\n";
    assert_eq!(store(fence, soon).ok().0[68], 1);
    // Other lanes do not know that it was read.
    let alone = "@%p0 cp.async.bulk.wait_group.read 0;\nst.shared.u32 [%r2], 7;\n";
    store(fence, alone).fails(FaultKind::SharedRace, "write after read");
}

#[test]
fn boxes_of_tensors() {
    // 2 bytes an element; 20 x 9 elements in rows of 48 bytes; a box of 16 x 4 that hangs over at every side.
    for (x, y) in [(0i32, 0i32), (3, 2), (10, 7), (-5, -2), (30, 0), (0, -4)] {
        let t = Test {
            map: map(2, &[20, 9], &[48], &[16, 4], Swizzle::None),
            ..Test::new(&format!(
                "{}mov.b32 %r4, {x};\nmov.b32 %r5, {y};\n\
                 @%p0 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile+256], [%map, {{%r4, %r5}}], [bar];\n\
                 {WAIT}{}",
                expect(128),
                dump(128).replace("mov.u32 %r2, tile", "mov.u32 %r2, tile+256")
            ))
        };
        let (out, _) = t.ok();
        for (i, &got) in out[..128].iter().enumerate() {
            let (column, row) = (x + i as i32 % 32 / 2, y + i as i32 / 32);
            let inside = (0..20).contains(&column) && (0..9).contains(&row);
            let want = if inside {
                byte((row * 48 + column * 2) as usize + i % 2)
            } else {
                0
            };
            assert_eq!(got, want, "byte {i} of the box at {x}, {y}");
        }
    }
}

#[test]
fn boxes_are_swizzled() {
    for (swizzle, span, bits) in [
        (Swizzle::Bytes32, 32, 1),
        (Swizzle::Bytes64, 64, 3),
        (Swizzle::Bytes128, 128, 7),
    ] {
        let t = Test {
            map: map(2, &[64, 16], &[256], &[span / 2, 16], swizzle),
            ..Test::new(&format!(
                "{}@%p0 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [tile], [%map, {{0, 0}}], [bar], %d5;\n{WAIT}{}",
                expect(16 * span as usize),
                dump(16 * span as usize)
            ))
        };
        let (out, _) = t.ok();
        for (i, &got) in out[..16 * span as usize].iter().enumerate() {
            // "Swizzling Modes": the chunk of 16 bytes is xored with the row of 128 bytes.
            let plain = i ^ (i >> 7 & bits) << 4;
            let want = byte(plain / span as usize * 256 + plain % span as usize);
            assert_eq!(got, want, "{swizzle:?}, byte {i}");
        }
    }
}

#[test]
fn boxes_are_stored_and_clipped() {
    // One, three and five dimensions; what is outside is not written.
    let mut tensor = map(4, &[6, 3, 2], &[32, 96], &[8, 2, 2], Swizzle::None);
    tensor.address = 1;
    let t = Test {
        map: tensor,
        ..Test::new(&format!(
            "{}@%p0 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [tile], [%in], 128, [bar];\n{WAIT}\
             @%p0 cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%map, {{-1, 2, 0}}], [tile];\n\
             @%p0 cp.async.bulk.commit_group;\n@%p0 cp.async.bulk.wait_group 0;\n",
            expect(128)
        ))
    };
    let (out, _) = t.ok();
    let mut want = vec![0xee; BYTES];
    for (k, row, column) in (0..2).flat_map(|k| (0..2).flat_map(move |r| (0..8).map(move |c| (k, r, c)))) {
        let (x, y) = (column as i32 - 1, row + 2);
        if (0..6).contains(&x) && y < 3 {
            for b in 0..4 {
                want[k * 96 + y * 32 + x as usize * 4 + b] = byte(((k * 2 + row) * 8 + column) * 4 + b);
            }
        }
    }
    assert_eq!(out, want);
    let mut line = map(1, &[40], &[], &[32], Swizzle::None);
    for (at, map_address) in [(16, 0u64), (-8, 0)] {
        line.address = map_address;
        let t = Test {
            map: line,
            ..Test::new(&format!(
                "{}@%p0 cp.async.bulk.tensor.1d.shared::cta.global.tile.mbarrier::complete_tx::bytes [tile], [%map, {{{at}}}], [bar];\n{WAIT}{}",
                expect(32),
                dump(32)
            ))
        };
        let (out, _) = t.ok();
        for (i, &got) in out[..32].iter().enumerate() {
            let from = at + i as i32;
            assert_eq!(
                got,
                if (0..40).contains(&from) {
                    byte(from as usize)
                } else {
                    0
                }
            );
        }
    }
    let mut five = map(
        1,
        &[16, 2, 2, 2, 2],
        &[16, 32, 64, 128],
        &[16, 1, 2, 1, 2],
        Swizzle::None,
    );
    five.steps[4] = 1;
    let t = Test {
        map: five,
        ..Test::new(&format!(
            "{}@%p0 cp.async.bulk.tensor.5d.shared::cta.global.tile.mbarrier::complete_tx::bytes [tile], [%map, {{0, 1, 0, 1, 0}}], [bar];\n{WAIT}{}",
            expect(64),
            dump(64)
        ))
    };
    let (out, _) = t.ok();
    for (i, &got) in out[..64].iter().enumerate() {
        assert_eq!(got, byte(16 + i / 16 % 2 * 32 + 64 + i / 32 * 128 + i % 16), "byte {i}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    let copy = "@%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%in], 128, [bar];\n";
    let load = |before: &str, after: &str| Test::new(&format!("{before}{copy}{after}"));
    let full = expect(128);
    load(&full, &dump(128)).fails(FaultKind::InFlight, "was not waited for");
    load(&full, "@%p0 st.shared.u32 [tile+4], 1;\n").fails(FaultKind::InFlight, "was not waited for");
    load(&full, "").fails(FaultKind::InFlight, "nobody waited for");
    // More bytes than come.
    load(&expect(144), WAIT).fails(FaultKind::Deadlock, "16 bytes are missing");
    load(&expect(144), WAIT).fails(FaultKind::Deadlock, "mbarrier at 0x2000 of shared memory");
    // Another warp writes there, before or after.
    for (writer, words) in [(32, "writes there"), (0, "write after write")] {
        let kind = if writer == 0 {
            FaultKind::SharedRace
        } else {
            FaultKind::InFlight
        };
        let copy = copy.replace("%p0", "%p2");
        let body = format!(
            "setp.eq.u32 %p3, %x, {writer};\nsetp.eq.u32 %p2, %x, {};\n@%p3 st.shared.u32 [tile], 1;\n{full}{copy}{WAIT}",
            32 - writer
        );
        let t = Test {
            threads: 64,
            ..Test::new(&body)
        };
        t.fails(kind, words);
    }
    for (text, kind) in [
        ("[tile+8], [%in], 128, [bar]", FaultKind::Misaligned),
        ("[tile], [%in+8], 128, [bar]", FaultKind::Misaligned),
        ("[tile], [%in], %r6, [bar]", FaultKind::Misaligned),
        ("[tile], [%in], 128, [bar+4]", FaultKind::Misaligned),
        ("[tile+16384], [%in], 128, [bar]", FaultKind::OutOfBounds),
        ("[tile], [%in+8080], 128, [bar]", FaultKind::OutOfBounds),
        ("[tile], [%in], 128, [tile]", FaultKind::Uninitialised),
    ] {
        let text = format!(
            "mov.u32 %r6, 24;\n{full}@%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes {text};\n"
        );
        Test::new(&text).fails(kind, "");
    }
    let tensor = |address: &str, to: &str| {
        Test::new(&format!(
            "add.u64 %d8, %map, 8;\n{full}@%p0 cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [{to}], [{address}, {{0}}], [bar];\n"
        ))
    };
    tensor("%map", "tile+64").fails(FaultKind::Misaligned, "");
    tensor("%d8", "tile").fails(FaultKind::Misaligned, "no multiple of 64");
    tensor("%in", "tile").fails(FaultKind::Undefined, "no tensor map");
}
