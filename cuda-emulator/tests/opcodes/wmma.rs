//! wmma: load, multiply, store, through global and shared memory, every shape, type and layout.

use super::harness::run;

/// A and B are filled by kernel code: element (i, l) of A is (3 i + 5 l) mod 4, of B (2 l + 3 j) mod 4, C is i + j (mod 4), written with
/// stride 32 at bytes 0, 2048·w and 4096·w of an array in shared memory (w: one for 1 and 2 bytes an element).
fn kernel(shape: &str, ty: &str, c_type: &str, d_type: &str, layouts: [&str; 3], generic: bool) -> (String, usize) {
    let [m, n, k] = sizes(shape);
    let mut body = "mov.u32 %r40, tile;\n".to_string();
    let bytes = |ty: &str| match ty {
        "s8" | "u8" => 1,
        "f16" | "bf16" => 2,
        "f64" => 8,
        _ => 4,
    };
    let mut at = 0;
    let mut offsets = Vec::new();
    let tiles = [
        (m, k, 3, 5, ty, layouts[0]),
        (k, n, 2, 3, ty, layouts[1]),
        (m, n, 1, 1, c_type, layouts[2]),
    ];
    for (label, (rows, columns, x, y, ty, layout)) in tiles.into_iter().enumerate() {
        let width = bytes(ty);
        // The stride: the matrix's own.
        let stride = if layout == "row" { columns } else { rows };
        offsets.push((at, stride));
        body += &format!("mov.u32 %r41, %lane;\nfill{label}:\n");
        body += &format!("div.u32 %r42, %r41, {columns};\nrem.u32 %r43, %r41, {columns};\n");
        body += &format!("mul.lo.u32 %r44, %r42, {x};\nmad.lo.u32 %r44, %r43, {y}, %r44;\nand.b32 %r44, %r44, 3;\n");
        let (major, minor) = if layout == "row" {
            ("%r42", "%r43")
        } else {
            ("%r43", "%r42")
        };
        body += &format!("mad.lo.u32 %r45, {major}, {stride}, {minor};\nmad.lo.u32 %r45, %r45, {width}, %r40;\n");
        body += &match ty {
            "f16" | "bf16" => {
                format!("cvt.rn.f32.u32 %f0, %r44;\ncvt.rn.{ty}.f32 %h0, %f0;\nst.shared.b16 [%r45+{at}], %h0;\n")
            }
            "tf32" | "f32" => format!("cvt.rn.f32.u32 %f0, %r44;\nst.shared.f32 [%r45+{at}], %f0;\n"),
            "f64" => format!("cvt.rn.f64.u32 %fd0, %r44;\nst.shared.f64 [%r45+{at}], %fd0;\n"),
            "s8" | "u8" => format!("st.shared.u8 [%r45+{at}], %r44;\n"),
            _ => format!("st.shared.u32 [%r45+{at}], %r44;\n"),
        };
        body += &format!(
            "add.u32 %r41, %r41, 32;\nsetp.lt.u32 %p15, %r41, {};\n@%p15 bra fill{label};\n",
            rows * columns
        );
        at += (rows * columns * width).next_multiple_of(128);
    }
    body += "bar.sync 0;\n";
    let registers = |which: usize| -> usize {
        let (elements, ty) = [(m * k, ty), (k * n, ty), (m * n, c_type), (m * n, d_type)][which];
        if ty == "f16" && which < 2 {
            8
        } else {
            elements * bytes(ty) / 128 / if ty == "f64" { 2 } else { 1 }
        }
    };
    let bank = if ty == "f64" { "fd" } else { "r" };
    let list = |first: usize, count: usize| {
        let names: Vec<String> = (first..first + count).map(|i| format!("%{bank}{i}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let space = if generic { "" } else { ".shared" };
    let address = |body: &mut String, offset: usize| {
        *body += &format!("add.u32 %r46, %r40, {offset};\n");
        if generic {
            *body += "cvt.u64.u32 %rd0, %r46;\ncvta.shared.u64 %rd0, %rd0;\n";
        }
    };
    let pointer = if generic { "%rd0" } else { "%r46" };
    let mut first = 0;
    let mut lists = Vec::new();
    for (which, name) in ["a", "b", "c"].iter().enumerate() {
        let count = registers(which);
        let (offset, stride) = offsets[which];
        let ty = if which == 2 { c_type } else { ty };
        address(&mut body, offset);
        body += &format!(
            "wmma.load.{name}.sync.aligned.{}.{shape}{space}.{ty} {}, [{pointer}], {stride};\n",
            layouts[which],
            list(first, count)
        );
        lists.push(list(first, count));
        first += count;
    }
    let types = if ty == "f16" {
        format!("{d_type}.{c_type}")
    } else {
        format!("{d_type}.{ty}.{ty}.{c_type}")
    };
    let d = list(first, registers(3));
    body += &format!(
        "wmma.mma.sync.aligned.{}.{}.{shape}.{types} {d}, {}, {}, {};\n",
        layouts[0], layouts[1], lists[0], lists[1], lists[2]
    );
    // D, transposed if C is by columns, to the output: n or m elements a row, each of its own width.
    let stride = if layouts[2] == "row" { n } else { m };
    body += &format!(
        "ld.param.u64 %rd1, [out];\nwmma.store.d.sync.aligned.{}.{shape}.global.{d_type} [%rd1], {d}, {stride};\nbar.warp.sync 0xffffffff;\n",
        layouts[2]
    );
    let words = m * n * bytes(d_type) / 8;
    for i in 0..words / 32 {
        body += &format!("ld.global.u64 %out{i}, [%to+{}];\n", 256 * i);
    }
    (body, words / 32)
}

fn sizes(shape: &str) -> [usize; 3] {
    let (m, rest) = shape[1..].split_once('n').unwrap();
    let (n, k) = rest.split_once('k').unwrap();
    [m, n, k].map(|x| x.parse().unwrap())
}

fn read(ty: &str, bytes: &[u8], i: usize) -> f64 {
    match ty {
        "f16" => {
            let bits = u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
            let (exponent, fraction) = (i32::from(bits >> 10), f64::from(bits & 1023));
            if bits == 0 {
                0.0
            } else {
                (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)
            }
        }
        "f32" => f32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()).into(),
        "f64" => f64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().unwrap()),
        _ => i32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()).into(),
    }
}

#[test]
fn products() {
    let rows = [
        ("m16n16k16", "bf16", "f32", "f32"),
        ("m32n8k16", "bf16", "f32", "f32"),
        ("m8n32k16", "bf16", "f32", "f32"),
        ("m16n16k16", "f16", "f32", "f32"),
        ("m32n8k16", "f16", "f32", "f32"),
        ("m8n32k16", "f16", "f32", "f32"),
        ("m16n16k16", "f16", "f16", "f16"),
        ("m16n16k16", "f16", "f32", "f16"),
        ("m16n16k16", "f16", "f16", "f32"),
        ("m16n16k8", "tf32", "f32", "f32"),
        ("m8n8k4", "f64", "f64", "f64"),
        ("m16n16k16", "s8", "s32", "s32"),
        ("m32n8k16", "u8", "s32", "s32"),
        ("m8n32k16", "s8", "s32", "s32"),
    ];
    for (shape, ty, c_type, d_type) in rows {
        for layouts in [
            ["row", "col", "row"],
            ["row", "row", "row"],
            ["col", "col", "col"],
            ["col", "row", "row"],
        ] {
            for generic in [false, true] {
                let [m, n, k] = sizes(shape);
                let (body, outputs) = kernel(shape, ty, c_type, d_type, layouts, generic);
                let name = format!("wmma {shape} {ty} {c_type} {d_type} {layouts:?} {generic}");
                let out = run(&name, &body, &[], outputs);
                let bytes: Vec<u8> = out.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
                for i in 0..m {
                    for j in 0..n {
                        let product: usize = (0..k).map(|l| ((3 * i + 5 * l) & 3) * ((2 * l + 3 * j) & 3)).sum();
                        let want = (product + ((i + j) & 3)) as f64;
                        let at = if layouts[2] == "row" { i * n + j } else { j * m + i };
                        assert_eq!(read(d_type, &bytes, at), want, "{name}: {i}, {j}");
                    }
                }
            }
        }
    }
}
