//! wgmma.mma_async: shapes, layouts of the operands in shared memory, fragments in registers, signs, accumulation. Where an element of a
//! matrix lies is written here as the ISA writes it: a canonical layout of CuTe and the swizzling of the address.

use super::harness::assemble;
use cuda_emulator::engine::{Engine, Launch, Options};
use cuda_emulator::memory::Kind;

/// Bytes of shared memory of a test.
const SHARED: usize = 56 << 10;

/// (sizes, strides) of one mode of a layout, innermost first.
type Mode = [(usize, usize); 3];

/// A canonical layout ("Canonical Layouts", in elements of 16 bits, so T = 8) with its descriptor.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Of rows (M or N).
    rows: Mode,
    /// Of k.
    depth: Mode,
    /// Bits of `Swizzle<B, 4, 3>`.
    bits: u32,
    /// imm-trans.
    trans: u32,
    leading: usize,
    stride: usize,
    /// Bits 63-62 of the descriptor.
    mode: u64,
}

impl Layout {
    /// `major` and the swizzling bits; offsets in elements, larger than need be so that they show.
    fn new(trans: u32, bits: u32, rows: usize) -> Layout {
        let w = 1 << bits;
        let mode = [0, 3, 2, 1][bits as usize];
        let (leading, stride, rows, depth) = match (trans, bits) {
            // ((8,m),(T,2k)):((1T,SBO),(1,LBO))
            (0, 0) => {
                let (sbo, lbo) = (64 + 8, (64 + 8) * (rows / 8) + 64);
                (lbo, sbo, [(8, 8), (1 << 20, sbo), (1, 0)], [(8, 1), (2, lbo), (1, 0)])
            }
            // ((8,m),(T,2k)):((wT,SBO),(1,T))
            (0, _) => {
                let sbo = 8 * w * 8;
                (8, sbo, [(8, w * 8), (1 << 20, sbo), (1, 0)], [(8, 1), (2, 8), (1, 0)])
            }
            // ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))
            (_, 0) => {
                let (sbo, lbo) = (64 + 16, (64 + 16) * (rows / 8) + 64);
                (lbo, sbo, [(8, 1), (1, 8), (1 << 20, sbo)], [(8, 8), (2, lbo), (1, 0)])
            }
            // ((T,w,m),(8,k)):((1,T,LBO),(wT,SBO))
            _ => {
                let lbo = 8 * w * 8 * 2;
                (
                    lbo,
                    8 * w * 8,
                    [(8, 1), (w, 8), (1 << 20, lbo)],
                    [(8, w * 8), (2, 8 * w * 8), (1, 0)],
                )
            }
        };
        Layout {
            rows,
            depth,
            bits,
            trans,
            leading: 2 * leading,
            stride: 2 * stride,
            mode,
        }
    }

    /// Byte address of an element of a matrix at `start`.
    fn address(&self, start: usize, row: usize, k: usize) -> usize {
        let index = |mode: &Mode, mut i: usize| {
            mode.iter()
                .map(|&(size, stride)| {
                    let at = i % size * stride;
                    i /= size;
                    at
                })
                .sum::<usize>()
        };
        let plain = start + 2 * (index(&self.rows, row) + index(&self.depth, k));
        plain ^ (plain >> 7 & ((1 << self.bits) - 1)) << 4
    }

    fn descriptor(&self, start: usize) -> u64 {
        let encode = |x: usize| (x as u64 & 0x3ffff) >> 4;
        encode(start) | encode(self.leading) << 16 | encode(self.stride) << 32 | self.mode << 62
    }
}

struct Test {
    ty: &'static str,
    n: usize,
    /// None: A is in registers.
    a: Option<Layout>,
    b: Layout,
    negate: [bool; 2],
    adds: bool,
}

/// A small whole number for an element.
fn number(seed: usize, row: usize, k: usize) -> i32 {
    ((row * 31 + k * 17 + seed * 7 + row * k) % 15) as i32 - 7
}

fn encode(ty: &str, value: i32) -> u16 {
    let bits = (value as f32).to_bits();
    match ty {
        "bf16" => (bits >> 16) as u16,
        _ if value == 0 => 0,
        // The exponent of f16 is 112 less; whole numbers below 2048 are exact.
        _ => (bits >> 16 & 0x8000) as u16 | (((bits & 0x7fff_ffff) - (112 << 23)) >> 13) as u16,
    }
}

impl Test {
    fn text(&self, starts: [usize; 2]) -> String {
        let n = self.n;
        let list = |prefix: &str, count: usize| {
            let names: Vec<String> = (0..count).map(|i| format!("%{prefix}{i}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let scale = |i: usize| if self.negate[i] { "-1" } else { "1" };
        let left = match self.a {
            Some(a) => format!("{:#x}", a.descriptor(starts[0])),
            None => list("a", 4),
        };
        let left = if self.a.is_some() { "%da".to_string() } else { left };
        let trans = self.a.map_or(String::new(), |a| format!("{}, ", a.trans));
        let mut t =
            ".version 9.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 tile[];\n".to_string();
        t += ".visible .entry test(.param .u64 in, .param .u64 out)\n{\n.reg .pred %p<3>;\n.reg .b32 %r<9>, %x, %a<4>;\n";
        t += &format!(".reg .f32 %d<{}>;\n.reg .b64 %in, %out, %at, %da, %db;\n", n / 2);
        t += "ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nmov.u32 %x, %tid.x;\n";
        // The image of shared memory, word by word.
        t += "mov.u32 %r0, %x;\nC: mul.wide.u32 %at, %r0, 4;\nadd.u64 %at, %at, %in;\nld.global.u32 %r1, [%at];\n";
        t += &format!(
            "shl.b32 %r2, %r0, 2;\nst.shared.u32 [%r2], %r1;\nadd.u32 %r0, %r0, 128;\nsetp.lt.u32 %p0, %r0, {};\n@%p0 bra C;\n",
            SHARED / 4
        );
        t += "fence.proxy.async.shared::cta;\nbar.sync 0;\n";
        if let Some(a) = self.a {
            t += &format!("mov.b64 %da, {:#x};\n", a.descriptor(starts[0]));
        }
        t += &format!("mov.b64 %db, {:#x};\n", self.b.descriptor(starts[1]));
        // A in registers, then the accumulators: 16 bytes and n / 2 words of each thread.
        t += &format!("mad.wide.u32 %at, %x, {}, %in;\n", 16 + 2 * n);
        for i in 0..4 {
            t += &format!("ld.global.u32 %a{i}, [%at+{}];\n", SHARED + 4 * i);
        }
        for i in 0..n / 2 {
            t += &format!("ld.global.f32 %d{i}, [%at+{}];\n", SHARED + 16 + 4 * i);
        }
        t += &format!(
            "setp.ne.u32 %p1, {}, 0;\nwgmma.fence.sync.aligned;\n",
            u32::from(self.adds)
        );
        t += &format!(
            "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{0}.{0} {1}, {left}, %db, %p1, {2}, {3}, {trans}{4};\n",
            self.ty,
            list("d", n / 2),
            scale(0),
            scale(1),
            self.b.trans
        );
        t += "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
        t += &format!("mad.wide.u32 %at, %x, {}, %out;\n", 2 * n);
        for i in 0..n / 2 {
            t += &format!("st.global.f32 [%at+{}], %d{i};\n", 4 * i);
        }
        t + "ret;\n}\n"
    }

    fn run(&self) {
        let n = self.n;
        let name = format!("{} n{n} {:?} {:?}", self.ty, self.a, self.b);
        let starts = [0, 16 << 10];
        let ptx = self.text(starts);
        assemble(&name, &ptx);
        let mut image = vec![0u8; SHARED];
        let mut put = |at: usize, value: i32| image[at..at + 2].copy_from_slice(&encode(self.ty, value).to_le_bytes());
        for k in 0..16 {
            for row in 0..64 {
                if let Some(a) = self.a {
                    put(a.address(starts[0], row, k), number(1, row, k));
                }
            }
            for column in 0..n {
                put(self.b.address(starts[1], column, k), number(2, column, k));
            }
        }
        // Figure "register fragment layout for matrix A": row of lane / 4 and 8 more, columns 2 (lane % 4) and 8 more; 16 rows a warp.
        for thread in 0..128 {
            let (warp, lane) = (thread / 32, thread % 32);
            for i in 0..8 {
                let row = 16 * warp + lane / 4 + 8 * (i / 2 % 2);
                let k = lane % 4 * 2 + i % 2 + 8 * (i / 4);
                image.extend(encode(self.ty, number(1, row, k)).to_le_bytes());
            }
            for i in 0..n / 2 {
                image.extend(((thread * 3 + i) as f32).to_le_bytes());
            }
        }
        let mut engine = Engine::new(Options {
            memory_bytes: 1 << 24,
            threads: 1,
            arch: 90,
            ..Options::default()
        });
        let module = engine.load(&ptx).unwrap_or_else(|e| panic!("{name}: {e}\n{ptx}"));
        let from = engine.memory.allocate(image.len() as u64, Kind::Plain).unwrap();
        let to = engine.memory.allocate(128 * 2 * n as u64, Kind::Plain).unwrap();
        engine.memory.write(from, &image).unwrap();
        let params = [from, to].map(u64::to_le_bytes).concat();
        let launch = Launch {
            grid: [1; 3],
            block: [128, 1, 1],
            dynamic_shared: SHARED,
            params: &params,
        };
        let counters = engine
            .launch(&module.kernels["test"], launch)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(counters.wgmma_flops, 2 * 64 * n as u64 * 16);
        assert_eq!(counters.tensor_flops, counters.wgmma_flops);
        let mut result = vec![0; 128 * 2 * n];
        engine.memory.read(to, &mut result).unwrap();
        // Figure "register fragment layout for accumulator matrix D".
        for thread in 0..128 {
            let (warp, lane) = (thread / 32, thread % 32);
            for i in 0..n / 2 {
                let row = 16 * warp + lane / 4 + 8 * (i / 2 % 2);
                let column = 8 * (i / 4) + lane % 4 * 2 + i % 2;
                let sum: i32 = (0..16).map(|k| number(1, row, k) * number(2, column, k)).sum();
                let sum = if self.negate[0] != self.negate[1] { -sum } else { sum };
                let want = sum + if self.adds { (thread * 3 + i) as i32 } else { 0 };
                let at = 4 * (thread * n / 2 + i);
                let got = f32::from_le_bytes(result[at..at + 4].try_into().unwrap());
                assert_eq!(got, want as f32, "{name}: row {row}, column {column}");
            }
        }
    }
}

#[test]
fn canonical_layouts_of_both_majors() {
    for n in [8, 32, 64, 128, 256] {
        for bits in 0..4 {
            for trans in 0..2 {
                // An MN-major pattern has 8, 16, 32, 64 columns.
                if trans == 1 && n < 8 << bits {
                    continue;
                }
                let a = Layout::new(trans, (bits + 1) % 4, 64);
                let b = Layout::new(trans, bits, n);
                Test {
                    ty: "bf16",
                    n,
                    a: Some(a),
                    b,
                    negate: [false; 2],
                    adds: true,
                }
                .run();
                Test {
                    ty: "f16",
                    n,
                    a: Some(Layout::new(1 - trans, bits, 64)),
                    b,
                    negate: [true, false],
                    adds: false,
                }
                .run();
            }
        }
    }
}

#[test]
fn every_width_and_a_in_registers() {
    for n in (8..=256).step_by(8) {
        Test {
            ty: if n % 16 == 0 { "bf16" } else { "f16" },
            n,
            a: None,
            b: Layout::new(0, 3, n),
            negate: [n % 24 == 0, n % 40 == 0],
            adds: n % 32 != 0,
        }
        .run();
    }
}
