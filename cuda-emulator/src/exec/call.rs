//! Calls of device functions, and of what the emulator provides.

use super::block::Block;
use super::print;
use super::warp::{Warp, lanes};
use crate::code::{Builtin, Call, Callee, NONE, Op, Program, Routine};
use crate::fault::{Cause, FaultKind};

impl Block<'_, '_> {
    /// Passes arguments and leaves the place to return to. Returns where each lane goes.
    pub fn call(&mut self, w: &mut Warp, call: &Call, pc: u32, m: u32) -> Result<[u32; 32], Box<Cause>> {
        let program = self.program;
        let mut to = [0; 32];
        for lane in lanes(m) {
            let number = match call.callee {
                Callee::Function(number) => number,
                Callee::Register(r) => {
                    let address = w.d[r as usize].0[lane];
                    *program.addresses.get(&address).ok_or_else(|| {
                        Cause::new(
                            FaultKind::Undefined,
                            lane as u32,
                            format!("{address:#x} is no function"),
                        )
                    })?
                }
            };
            let f = &program.functions[number as usize];
            let same = |a: &[(u32, u32)], b: &[(u32, u32)]| a.iter().map(|p| p.1).eq(b.iter().map(|p| p.1));
            if !same(&f.params, &call.arguments) || !same(&f.returns, &call.results) {
                let message = format!("{} is called with other parameters than it has", f.name);
                return Err(Cause::new(FaultKind::Undefined, lane as u32, message));
            }
            let arguments: Vec<Vec<u32>> = call
                .arguments
                .iter()
                .map(|&(at, bytes)| frame(w, lane, at, bytes))
                .collect();
            put_aside(self.program, w, f, lane)?;
            for (words, &(at, _)) in arguments.iter().zip(&f.params) {
                set_frame(w, lane, at, words);
            }
            w.r[f.return_register as usize].0[lane] = pc + 1;
            to[lane] = f.start;
        }
        Ok(to)
    }

    /// Ends a call: passes the results. Returns where each lane goes on.
    pub fn give_back(&mut self, w: &mut Warp, number: u32, m: u32) -> [u32; 32] {
        let program = self.program;
        let f = &program.functions[number as usize];
        let mut to = [0; 32];
        for lane in lanes(m) {
            let back = w.r[f.return_register as usize].0[lane];
            let results: Vec<Vec<u32>> = f.returns.iter().map(|&(at, bytes)| frame(w, lane, at, bytes)).collect();
            bring_back(self.program, w, f, lane);
            if let Op::Call(call) = &program.insts[back as usize - 1].op {
                for (words, &(at, _)) in results.iter().zip(&call.results) {
                    set_frame(w, lane, at, words);
                }
            }
            to[lane] = back;
        }
        to
    }

    /// A call of something the emulator provides.
    pub fn builtin(
        &mut self,
        w: &mut Warp,
        which: Builtin,
        arguments: &[u32],
        result: u32,
        m: u32,
    ) -> Result<(), Box<Cause>> {
        for lane in lanes(m) {
            let word = |w: &Warp, n: usize, bytes: u32| {
                frame(w, lane, arguments[n], bytes)
                    .iter()
                    .rev()
                    .fold(0u64, |v, &x| v << 32 | u64::from(x))
            };
            match which {
                Builtin::Printf => {
                    let format = self.text(w, lane, word(w, 0, 8));
                    let at = word(w, 1, 8);
                    let mut read = |source: print::Source| match source {
                        print::Source::Argument(offset, bytes) => self
                            .peek(w, lane, at.wrapping_add(offset), bytes)
                            .map(print::Value::Number),
                        print::Source::Text(address) => Some(print::Value::Text(self.text(w, lane, address))),
                    };
                    let (line, count) = print::format(&format, &mut read);
                    self.printed.extend_from_slice(&line);
                    if result != NONE {
                        set_frame(w, lane, result, &[count as u32]);
                    }
                }
                Builtin::AssertFail => {
                    let mut show = |n: usize| String::from_utf8_lossy(&self.text(w, lane, word(w, n, 8))).into_owned();
                    let (what, file, function) = (show(0), show(1), show(3));
                    let line = word(w, 2, 4);
                    let message = format!("{file}:{line}: {function}: assertion `{what}` failed");
                    return Err(Cause::new(FaultKind::Assert, lane as u32, message));
                }
            }
        }
        Ok(())
    }

    /// A text in memory, up to its zero byte.
    fn text(&mut self, w: &Warp, lane: usize, mut address: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < 1 << 16 {
            match self.peek(w, lane, address, 1) {
                Some(byte) if byte != 0 => out.push(byte as u8),
                _ => break,
            }
            address = address.wrapping_add(1);
        }
        out
    }
}

/// Keeps what a recursive function's activation below needs after the call.
fn put_aside(program: &Program, w: &mut Warp, f: &Routine, lane: usize) -> Result<(), Box<Cause>> {
    let Some(saved) = &f.saved else { return Ok(()) };
    let top = program.stack_register as usize;
    let limit = (program.local_bytes + program.stack_bytes) as u64;
    let after = w.d[top].0[lane] + u64::from(saved.stack);
    if after > limit {
        let message = format!(
            "the stack of {} bytes is used up by recursion of {}",
            program.stack_bytes, f.name
        );
        return Err(Cause::new(FaultKind::Undefined, lane as u32, message));
    }
    let mut values = Vec::new();
    let [p, r, d] = saved.registers.clone();
    values.extend(p.map(|i| u64::from(w.p[i as usize] >> lane & 1)));
    values.extend(r.map(|i| u64::from(w.r[i as usize].0[lane])));
    values.extend(d.map(|i| w.d[i as usize].0[lane]));
    values.push(w.r[f.return_register as usize].0[lane].into());
    let words = frame(w, lane, saved.frame.start, saved.frame.end - saved.frame.start);
    values.extend(words.into_iter().map(u64::from));
    if w.saved.is_empty() {
        w.saved.resize(32, Vec::new());
    }
    w.saved[lane].extend(values);
    w.d[top].0[lane] = after;
    Ok(())
}

fn bring_back(program: &Program, w: &mut Warp, f: &Routine, lane: usize) {
    let Some(saved) = &f.saved else { return };
    let [p, r, d] = saved.registers.clone();
    let words = (saved.frame.end - saved.frame.start).div_ceil(4);
    let count = p.len() + r.len() + d.len() + 1 + words as usize;
    let stack = &mut w.saved[lane];
    let values = stack.split_off(stack.len() - count);
    let mut next = values.into_iter();
    let mut take = || next.next().unwrap_or_default();
    for i in p {
        let bit = take() as u32;
        let word = &mut w.p[i as usize];
        *word = (*word & !(1 << lane)) | bit << lane;
    }
    for i in r {
        w.r[i as usize].0[lane] = take() as u32;
    }
    for i in d {
        w.d[i as usize].0[lane] = take();
    }
    w.r[f.return_register as usize].0[lane] = take() as u32;
    let words: Vec<u32> = (0..words).map(|_| take() as u32).collect();
    set_frame(w, lane, saved.frame.start, &words);
    w.d[program.stack_register as usize].0[lane] -= u64::from(saved.stack);
}

/// Words of a thread's parameters.
fn frame(w: &Warp, lane: usize, at: u32, bytes: u32) -> Vec<u32> {
    let first = at as usize / 4;
    w.frame[first..first + bytes.div_ceil(4) as usize]
        .iter()
        .map(|row| row[lane])
        .collect()
}

fn set_frame(w: &mut Warp, lane: usize, at: u32, words: &[u32]) {
    for (row, &word) in w.frame[at as usize / 4..].iter_mut().zip(words) {
        row[lane] = word;
    }
}
