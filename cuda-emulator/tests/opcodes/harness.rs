//! Runs a body of PTX in one warp: inputs and outputs are 64-bit numbers, a lane each.

use cuda_emulator::engine::{Engine, Launch, Options};
use cuda_emulator::fault::Fault;
use cuda_emulator::memory::Kind;
use std::io::Write;
use std::process::{Command, Stdio};

/// Inputs of all lanes.
pub type Column = [u64; 32];

/// A kernel around the body. Input k of the lane is in `%in<k>`, the body leaves output k in `%out<k>`; both are 64-bit registers.
/// There are registers `%p0` …, `%h0` … (16 bits), `%r0` …, `%f0` …, `%rd0` …, `%fd0` …; 16 of each (48 of `%r`).
pub fn text(body: &str, inputs: usize, outputs: usize) -> String {
    let mut ptx = ".version 9.0\n.target sm_90\n.address_size 64\n".to_string();
    ptx += ".visible .entry test(.param .u64 in, .param .u64 out)\n{\n";
    ptx += ".reg .pred %p<16>;\n.reg .b16 %h<16>;\n.reg .b32 %r<48>;\n.reg .f32 %f<16>;\n.reg .b64 %rd<16>;\n.reg .f64 %fd<16>;\n";
    ptx += ".reg .b64 %in<25>;\n.reg .b64 %out<9>;\n.reg .b64 %at, %to, %lane64;\n.reg .b32 %lane;\n";
    ptx += ".shared .align 128 .b8 tile[8192];\n";
    ptx +=
        "ld.param.u64 %at, [in];\nld.param.u64 %to, [out];\nmov.u32 %lane, %tid.x;\nmul.wide.u32 %lane64, %lane, 8;\n";
    ptx += "add.u64 %at, %at, %lane64;\nadd.u64 %to, %to, %lane64;\n";
    for k in 0..inputs {
        ptx += &format!("ld.global.u64 %in{k}, [%at+{}];\n", 256 * k);
    }
    ptx += body;
    for k in 0..outputs {
        ptx += &format!("st.global.u64 [%to+{}], %out{k};\n", 256 * k);
    }
    ptx + "ret;\n}\n"
}

/// Where `PTXAS` names NVIDIA's assembler, it must accept the text. Where it does not, `PROXIMAL_CUDA_REQUIRED` must not be set.
pub fn assemble(name: &str, ptx: &str) {
    let Ok(ptxas) = std::env::var("PTXAS") else {
        let required = std::env::var_os("PROXIMAL_CUDA_REQUIRED").is_some();
        assert!(!required, "PTXAS is not set, and PROXIMAL_CUDA_REQUIRED is");
        return;
    };
    let mut child = Command::new(ptxas)
        .args(["-arch=sm_90a", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(ptx.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{name}: {}\n{ptx}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs it; the outputs.
pub fn try_run(name: &str, body: &str, inputs: &[Column], outputs: usize) -> Result<Vec<Column>, Box<Fault>> {
    let ptx = text(body, inputs.len(), outputs);
    assemble(name, &ptx);
    let mut engine = Engine::new(Options {
        memory_bytes: 1 << 24,
        threads: 1,
        arch: 90,
        ..Options::default()
    });
    let module = engine.load(&ptx).unwrap_or_else(|e| panic!("{name}: {e}\n{ptx}"));
    let bytes = |columns: usize| 256 * columns.max(1) as u64;
    let at = engine.memory.allocate(bytes(inputs.len()), Kind::Plain).unwrap();
    let to = engine.memory.allocate(bytes(outputs), Kind::Plain).unwrap();
    let data: Vec<u8> = inputs.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    engine.memory.write(at, &data).unwrap();
    let params = [at, to].map(u64::to_le_bytes).concat();
    let launch = Launch {
        grid: [1; 3],
        block: [32, 1, 1],
        dynamic_shared: 0,
        params: &params,
    };
    engine.launch(&module.kernels["test"], launch)?;
    let mut result = vec![0; 256 * outputs];
    engine.memory.read(to, &mut result).unwrap();
    let number = |i: usize| u64::from_le_bytes(result[8 * i..8 * i + 8].try_into().unwrap());
    Ok((0..outputs)
        .map(|k| core::array::from_fn(|lane| number(32 * k + lane)))
        .collect())
}

/// As [`try_run`], where no fault is expected.
pub fn run(name: &str, body: &str, inputs: &[Column], outputs: usize) -> Vec<Column> {
    try_run(name, body, inputs, outputs).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// A column by lane.
pub fn column(f: impl Fn(u64) -> u64) -> Column {
    core::array::from_fn(|lane| f(lane as u64))
}
