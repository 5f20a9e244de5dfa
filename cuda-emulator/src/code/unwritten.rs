//! Registers that may be read before they are written. What they hold is nobody's business, but it must be the same in every run: not what
//! the block before left there. Compilers leave few such registers, and in most kernels none.

use super::check;
use crate::ptx::{Function, Instruction, Operand, Register};
use std::collections::{BTreeSet, HashMap};

/// Words of all sets together, and passes over them, beyond which every register is held for one of them.
const LARGEST: usize = 1 << 24;
const PASSES: usize = 100;

/// A set of numbers.
type Set = Vec<u64>;

fn has(set: &[u64], n: usize) -> bool {
    set[n / 64] >> (n % 64) & 1 != 0
}

fn add(set: &mut [u64], n: usize) {
    set[n / 64] |= 1 << (n % 64);
}

/// Instructions that follow one another and are entered at the first only.
struct Piece {
    from: Vec<usize>,
    written: Set,
    /// Registers that it reads and has not written before.
    read: BTreeSet<usize>,
}

/// The registers of a function that some way through it reads first.
pub fn registers(f: &Function) -> Vec<Register> {
    let mut all: Vec<Register> = Vec::new();
    let mut numbers: HashMap<Register, usize> = HashMap::new();
    for i in &f.body {
        i.operands.iter().for_each(|o| {
            walk(o, &mut |r| {
                numbers.entry(r).or_insert_with(|| {
                    all.push(r);
                    all.len() - 1
                });
            });
        });
    }
    let starts = starts(f);
    let words = all.len().div_ceil(64);
    if starts.len() * words > LARGEST {
        return all;
    }
    let pieces = pieces(f, &starts, &numbers, words);
    // What is written on every way to a piece; more than that at first, then less and less.
    let mut before: Vec<Set> = vec![vec![u64::MAX; words]; pieces.len()];
    if let Some(first) = before.first_mut() {
        first.fill(0);
    }
    let (mut changed, mut passes) = (true, 0);
    while std::mem::take(&mut changed) {
        passes += 1;
        if passes > PASSES {
            return all;
        }
        for (n, piece) in pieces.iter().enumerate().skip(1) {
            let on_all = |w: usize| {
                let ways = piece.from.iter().map(|&p| before[p][w] | pieces[p].written[w]);
                ways.fold(before[n][w], |a, b| a & b)
            };
            let new: Set = (0..words).map(on_all).collect();
            changed |= new != before[n];
            before[n] = new;
        }
    }
    let mut found = BTreeSet::new();
    for (piece, before) in pieces.iter().zip(&before) {
        found.extend(piece.read.iter().copied().filter(|&r| !has(before, r)));
    }
    found.into_iter().map(|r| all[r]).collect()
}

/// The first instructions of pieces, in order.
fn starts(f: &Function) -> Vec<usize> {
    let mut starts = BTreeSet::from([0]);
    for (n, i) in f.body.iter().enumerate() {
        if leaves(i) || !targets(f, i).is_empty() {
            starts.insert(n + 1);
        }
        starts.extend(targets(f, i));
    }
    starts.into_iter().filter(|&n| n < f.body.len()).collect()
}

fn targets(f: &Function, i: &Instruction) -> Vec<usize> {
    let list = i.operands.iter().find_map(|o| match o {
        Operand::Symbol(name, 0) if i.op[0] == "brx" => f.branch_targets.get(name),
        _ => None,
    });
    list.into_iter()
        .flatten()
        .chain(&i.target)
        .map(|&t| t as usize)
        .collect()
}

/// Whether what follows is not reached from here, unless by a jump.
fn leaves(i: &Instruction) -> bool {
    i.guard.is_none() && matches!(i.op[0].as_str(), "bra" | "brx" | "ret" | "exit" | "trap")
}

fn pieces(f: &Function, starts: &[usize], numbers: &HashMap<Register, usize>, words: usize) -> Vec<Piece> {
    let new = |_: &usize| Piece {
        from: Vec::new(),
        written: vec![0; words],
        read: BTreeSet::new(),
    };
    let mut pieces: Vec<Piece> = starts.iter().map(new).collect();
    let number = |start: usize| starts.binary_search(&start).ok();
    for (n, &start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(f.body.len());
        let piece = &mut pieces[n];
        for i in &f.body[start..end] {
            let (to, from) = i.operands.split_at(check::results(i).min(i.operands.len()));
            let mut read = |r: Register| {
                if !has(&piece.written, numbers[&r]) {
                    piece.read.insert(numbers[&r]);
                }
            };
            from.iter().for_each(|o| walk(o, &mut read));
            // What is not written in every lane, or added to, keeps something of what it was.
            if i.guard.is_some() || i.op[0] == "wgmma" {
                to.iter().for_each(|o| walk(o, &mut read));
            } else {
                to.iter()
                    .for_each(|o| walk(o, &mut |r| add(&mut piece.written, numbers[&r])));
            }
        }
        let Some(last) = f.body[start..end].last() else {
            continue;
        };
        let mut to: Vec<usize> = targets(f, last).into_iter().filter_map(number).collect();
        if !leaves(last) {
            to.extend(number(end));
        }
        for next in to {
            pieces[next].from.push(n);
        }
    }
    pieces
}

/// Every register of an operand.
fn walk(o: &Operand, each: &mut impl FnMut(Register)) {
    match o {
        Operand::Reg(r) | Operand::Not(r) => each(*r),
        Operand::Vector(list) | Operand::List(list) => list.iter().for_each(|o| walk(o, each)),
        Operand::Pair(a, b) | Operand::Indexed(a, b) => {
            walk(a, each);
            walk(b, each);
        }
        Operand::Address(base, _) => walk(base, each),
        _ => {}
    }
}
