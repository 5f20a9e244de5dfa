//! Each instruction of control, memory and synchronisation, through small kernels. What is expected is from the PTX ISA's text.

mod atomics;
mod barriers;
mod calls;
mod control;
mod mbarrier;
mod memory;
mod print;
mod together;

use crate::counters::Counters;
use crate::engine::{Engine, Launch, Options};
use crate::fault::{Fault, FaultKind};

/// One run of a kernel whose only parameter is a buffer of 32-bit words.
struct Test {
    /// Statements; `%out` holds the buffer's address, `%at` that of the thread's own word, `%me` its number in the grid.
    body: String,
    /// Declarations outside the kernel.
    outside: String,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    words: usize,
    init: Vec<u32>,
    options: Options,
}

struct Ran {
    words: Vec<u32>,
    text: String,
    result: Result<Counters, Box<Fault>>,
}

impl Test {
    fn new(body: &str) -> Test {
        Test {
            body: body.to_string(),
            outside: String::new(),
            grid: [1; 3],
            block: [32, 1, 1],
            shared: 0,
            words: 0,
            init: Vec::new(),
            options: Options::default(),
        }
    }

    fn outside(mut self, text: &str) -> Test {
        self.outside = text.to_string();
        self
    }

    fn grid(mut self, x: u32) -> Test {
        self.grid = [x, 1, 1];
        self
    }

    fn block(mut self, x: u32) -> Test {
        self.block = [x, 1, 1];
        self
    }

    fn shared(mut self, bytes: usize) -> Test {
        self.shared = bytes;
        self
    }

    /// The buffer has this many words instead of one a thread.
    fn words(mut self, words: usize) -> Test {
        self.words = words;
        self
    }

    /// What the buffer holds before; without it the buffer is zero.
    fn init(mut self, words: &[u32]) -> Test {
        self.init = words.to_vec();
        self
    }

    fn seed(mut self, seed: u64) -> Test {
        self.options.seed = seed;
        self
    }

    fn threads(mut self, threads: usize) -> Test {
        self.options.threads = threads;
        self
    }

    fn text(&self) -> String {
        format!(
            ".version 8.7\n.target sm_80\n.address_size 64\n{}\n.visible .entry k(.param .u64 k_out)\n{{\n\
             .reg .pred %p<20>;\n.reg .b16 %h<20>;\n.reg .b32 %r<40>;\n.reg .b64 %d<40>;\n.reg .b32 %me, %n;\n.reg .b64 %out, %at, %o;\n\
             ld.param.u64 %out, [k_out];\ncvta.to.global.u64 %out, %out;\nmov.u32 %me, %ctaid.x;\nmov.u32 %n, %ntid.x;\n\
             mul.lo.u32 %me, %me, %n;\nmov.u32 %n, %tid.x;\nadd.u32 %me, %me, %n;\nmul.wide.u32 %o, %me, 4;\nadd.u64 %at, %out, %o;\n\
             {}\nret;\n}}\n",
            self.outside, self.body
        )
    }

    fn run(&self) -> Ran {
        let mut engine = Engine::new(self.options.clone());
        let module = engine.load(&self.text()).unwrap();
        let threads = self.grid.iter().chain(&self.block).product::<u32>() as usize;
        let words = if self.words == 0 { threads } else { self.words };
        let out = engine
            .memory
            .allocate(4 * words as u64, crate::memory::Kind::Plain)
            .unwrap();
        let mut bytes = vec![0; 4 * words];
        for (to, word) in bytes.chunks_mut(4).zip(&self.init) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        engine.memory.write(out, &bytes).unwrap();
        let launch = Launch {
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.shared,
            params: &out.to_le_bytes(),
        };
        let (text, result) = engine.run(&module.kernels["k"], launch);
        engine.memory.read(out, &mut bytes).unwrap();
        let words = bytes
            .chunks(4)
            .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
            .collect();
        Ran {
            words,
            text: String::from_utf8(text).unwrap(),
            result,
        }
    }

    /// The buffer after a run without a fault.
    fn ok(&self) -> Vec<u32> {
        let ran = self.run();
        if let Err(fault) = &ran.result {
            panic!("{fault}\n{}", self.text());
        }
        ran.words
    }

    fn fault(&self) -> Fault {
        *self.run().result.unwrap_err()
    }

    fn kind(&self) -> FaultKind {
        self.fault().kind
    }

    fn load_error(&self) -> String {
        Engine::new(Options::default())
            .load(&self.text())
            .unwrap_err()
            .to_string()
    }
}

/// A word for each thread.
fn each(n: u32, f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..n).map(f).collect()
}
