//! A kernel and the functions it reaches, to one program.

use super::context::{Context, FUNCTION_WINDOW, Symbol};
use super::modifiers::Modifiers;
use super::op::*;
use super::program::{Program, Routine, Saved};
use super::wgmma::{self, Watched};
use super::{access, alu, check, control, mbarrier, sync, unwritten};
use crate::arith::{Arith, Binary32, Ternary32};
use crate::counters::Class;
use crate::ptx::{Bank, Function, Instruction, Module, Operand, Problem, REGISTERS, Variable, VariableSpace};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of stack that a thread has for recursion.
const RECURSION_STACK: usize = 16 << 10;

/// Static shared memory of a block, as hardware has it.
const SHARED: usize = 48 << 10;
/// `.local` variables of a thread, as hardware has it.
const LOCAL: usize = 512 << 10;
/// Parameters of a kernel, as hardware has it.
const PARAMS: usize = 32_764;
/// Parameters of calls of a thread, of all calls of a kernel together. The emulator keeps each in a place of its own.
const FRAME: usize = 256 << 10;

/// Functions that the driver provides.
const PROVIDED: [&str; 2] = ["vprintf", "__assertfail"];

/// Lowers the kernel. `globals` has the module's variables at their device addresses.
///
/// # Errors
/// The first instruction that cannot be executed exactly.
pub fn lower(
    module: &Module,
    kernel: &Function,
    globals: &BTreeMap<String, Symbol>,
    files: &Arc<BTreeMap<u32, String>>,
) -> Result<Program, Problem> {
    let by_name: HashMap<&str, &Function> = module
        .functions
        .iter()
        .filter(|f| f.defined)
        .map(|f| (f.name.as_str(), f))
        .collect();
    let graph = Graph::of(kernel, &by_name);
    let mut c = Context::new(globals, kernel);
    c.target = &module.target;
    c.program.name = kernel.name.clone();
    c.program.files = Arc::clone(files);
    c.carry = c.fresh(Bank::P);
    c.program.stack_register = c.fresh(Bank::D);
    for (number, f) in graph.order.iter().enumerate() {
        c.numbers.insert(f.name.clone(), number as u32);
        let return_register = c.fresh(Bank::R);
        c.program.functions.push(Routine {
            name: f.name.clone(),
            return_register,
            ..Routine::default()
        });
        c.program
            .addresses
            .insert(FUNCTION_WINDOW + 16 * number as u64, number as u32);
    }
    let layouts = layout(&mut c, &graph, module)?;
    for (number, (f, layout)) in graph.order.iter().zip(layouts).enumerate() {
        body(&mut c, f, number as u32, layout, graph.recursive[number])?;
    }
    let end = |end: usize, p: &Variable| align(end, p.align).saturating_add(p.size);
    c.program.param_bytes = kernel.params.iter().fold(0, end);
    Ok(c.program)
}

/// Sums of sizes end at the largest number, which is beyond every limit.
fn align(offset: usize, to: usize) -> usize {
    offset.checked_next_multiple_of(to.max(1)).unwrap_or(usize::MAX)
}

/// The functions a kernel reaches, itself first.
struct Graph<'a> {
    order: Vec<&'a Function>,
    recursive: Vec<bool>,
}

impl<'a> Graph<'a> {
    fn of(kernel: &'a Function, by_name: &HashMap<&str, &'a Function>) -> Graph<'a> {
        let mut order = vec![kernel];
        let mut edges: Vec<Vec<usize>> = Vec::new();
        let mut next = 0;
        while next < order.len() {
            let mut to = Vec::new();
            for name in names(order[next]) {
                let Some(&f) = by_name.get(name) else { continue };
                let at = order.iter().position(|g| g.name == f.name).unwrap_or_else(|| {
                    order.push(f);
                    order.len() - 1
                });
                to.push(at);
            }
            edges.push(to);
            next += 1;
        }
        // Who calls through a register may call any function whose address the kernel's code takes.
        let indirect: Vec<bool> = order.iter().map(|f| f.body.iter().any(is_indirect)).collect();
        for (i, to) in edges.iter_mut().enumerate() {
            if indirect[i] {
                to.extend(1..order.len());
            }
        }
        let recursive = (0..order.len()).map(|i| reaches(&edges, i)).collect();
        Graph { order, recursive }
    }
}

fn names(f: &Function) -> impl Iterator<Item = &str> {
    f.body.iter().flat_map(|i| &i.operands).filter_map(|o| match o {
        Operand::Symbol(name, 0) => Some(name.as_str()),
        _ => None,
    })
}

fn is_indirect(i: &Instruction) -> bool {
    i.op[0] == "call" && i.operands.iter().any(|o| matches!(o, Operand::Reg(_)))
}

fn reaches(edges: &[Vec<usize>], start: usize) -> bool {
    let mut seen = vec![false; edges.len()];
    let mut left = edges[start].clone();
    while let Some(at) = left.pop() {
        if at == start {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            left.extend(&edges[at]);
        }
    }
    false
}

/// Names within a function, and its first byte in the frame of parameters.
struct Layout {
    locals: HashMap<String, Symbol>,
    frame: std::ops::Range<u32>,
    stack: u32,
}

/// Places shared, local and parameter variables of all functions.
fn layout(c: &mut Context, graph: &Graph, module: &Module) -> Result<Vec<Layout>, Problem> {
    let (mut shared, mut frame, mut local, mut shared_align) = (0, 0, 0, 16);
    let mut module_shared: HashMap<String, Symbol> = HashMap::new();
    let mut dynamic = Vec::new();
    let used: std::collections::HashSet<&str> = graph.order.iter().flat_map(|f| named(f)).collect();
    for v in module.variables.iter().filter(|v| v.space == VariableSpace::Shared) {
        if !used.contains(v.name.as_str()) {
            continue;
        }
        shared_align = shared_align.max(v.align);
        if v.external && v.size == 0 {
            dynamic.push(v.name.clone());
        } else {
            module_shared.insert(v.name.clone(), place(&mut shared, v));
        }
    }
    let mut layouts = Vec::new();
    for (number, f) in graph.order.iter().enumerate() {
        let mut locals = HashMap::new();
        let mut stack = 0;
        let first = frame;
        let params = f
            .returns
            .iter()
            .map(|v| (v, true))
            .chain(f.params.iter().map(|v| (v, false)));
        let mut kernel_params = 0;
        for (v, result) in params {
            if f.entry {
                locals.insert(v.name.clone(), place(&mut kernel_params, v));
                continue;
            }
            let symbol = word_place(&mut frame, v);
            let pair = (symbol.address as u32, v.size as u32);
            let routine = &mut c.program.functions[number];
            if result {
                routine.returns.push(pair)
            } else {
                routine.params.push(pair)
            }
            locals.insert(v.name.clone(), symbol);
        }
        for v in f.variables.iter().filter(|v| v.space == VariableSpace::Param) {
            let symbol = word_place(&mut frame, v);
            locals.insert(v.name.clone(), symbol);
        }
        let params_end = frame;
        for v in &f.variables {
            let symbol = match v.space {
                VariableSpace::Shared => {
                    shared_align = shared_align.max(v.align);
                    place(&mut shared, v)
                }
                VariableSpace::Local if graph.recursive[number] => place(&mut stack, v),
                VariableSpace::Local => place(&mut local, v),
                VariableSpace::Param => continue,
                _ => return Err(Problem::new(v.line, "a global variable within a function")),
            };
            locals.insert(v.name.clone(), symbol);
        }
        let sizes = [
            (shared, SHARED, "static shared memory"),
            (local.max(stack), LOCAL, "local memory"),
            (kernel_params, PARAMS, "parameters"),
            (frame, FRAME, "parameters of calls"),
        ];
        for (bytes, limit, what) in sizes {
            if bytes > limit {
                return Err(Problem::new(
                    f.line,
                    format!("{}: more than {limit} bytes of {what}", f.name),
                ));
            }
        }
        for other in module.functions.iter().map(|f| f.name.as_str()) {
            if let Some(number) = c.numbers.get(other) {
                let address = FUNCTION_WINDOW + 16 * u64::from(*number);
                locals.insert(
                    other.to_string(),
                    Symbol {
                        space: None,
                        address,
                        bytes: 0,
                    },
                );
            }
        }
        // An activation without variables still takes some, so that endless recursion ends.
        let stack = align(stack.max(16), 16) as u32;
        layouts.push(Layout {
            locals,
            frame: first as u32..params_end as u32,
            stack,
        });
    }
    let static_shared = align(shared, shared_align);
    for name in dynamic {
        let symbol = Symbol {
            space: Some(VariableSpace::Shared),
            address: static_shared as u64,
            bytes: 0,
        };
        module_shared.insert(name, symbol);
    }
    for layout in &mut layouts {
        for (name, &symbol) in &module_shared {
            layout.locals.entry(name.clone()).or_insert(symbol);
        }
    }
    c.program.static_shared = if shared == 0 { 0 } else { static_shared };
    c.program.frame_bytes = frame;
    c.program.local_bytes = if graph.recursive.contains(&true) {
        align(local, 16)
    } else {
        local
    };
    if graph.recursive.contains(&true) {
        c.program.stack_bytes = RECURSION_STACK;
    }
    Ok(layouts)
}

/// Every name in a function's operands, inside addresses too.
fn named(f: &Function) -> Vec<&str> {
    fn walk<'a>(o: &'a Operand, out: &mut Vec<&'a str>) {
        match o {
            Operand::Symbol(name, _) => out.push(name),
            Operand::Address(base, _) => walk(base, out),
            Operand::Vector(list) | Operand::List(list) => list.iter().for_each(|o| walk(o, out)),
            Operand::Pair(a, b) => {
                walk(a, out);
                walk(b, out);
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    f.body.iter().flat_map(|i| &i.operands).for_each(|o| walk(o, &mut out));
    out
}

fn place(end: &mut usize, v: &Variable) -> Symbol {
    let at = align(*end, v.align);
    *end = at.saturating_add(v.size);
    Symbol {
        space: Some(v.space),
        address: at as u64,
        bytes: v.size,
    }
}

/// In whole words: the frame of call parameters is kept by words.
fn word_place(end: &mut usize, v: &Variable) -> Symbol {
    let symbol = place(end, v);
    *end = align(*end, 4);
    symbol
}

fn body<'a>(c: &mut Context<'a>, f: &'a Function, number: u32, layout: Layout, recursive: bool) -> Result<(), Problem> {
    let [p, r, d, q] = f.registers;
    let base = c.program.registers;
    c.base = base;
    c.base_q = base[2] + d;
    c.program.registers = [base[0] + p, base[1] + r, base[2] + d + 2 * q];
    if c.program.registers.iter().any(|&n| n > REGISTERS) {
        return Err(Problem::new(
            f.line,
            format!("{}: more than {REGISTERS} registers of a kind", f.name),
        ));
    }
    let registers = std::array::from_fn(|i| base[i]..c.program.registers[i]);
    for r in unwritten::registers(f) {
        let (at, [narrow, wide]) = (c.index(r), &mut c.program.unwritten);
        match r.bank {
            Bank::P => {}
            Bank::R => narrow.push(at),
            Bank::D => wide.push(at),
            Bank::Q => wide.extend([at, at + 1]),
        }
    }
    c.function = f;
    c.number = number;
    c.locals = layout.locals;
    c.watched = wgmma::registers_of(f);
    c.recursive = recursive;
    c.stack = layout.stack;
    let start = c.program.insts.len() as u32;
    let routine = &mut c.program.functions[number as usize];
    routine.start = start;
    if recursive {
        routine.saved = Some(Saved {
            registers,
            frame: layout.frame,
            stack: layout.stack,
        });
    }
    let mut starts = Vec::with_capacity(f.body.len() + 1);
    for i in &f.body {
        starts.push(c.program.insts.len() as u32);
        instruction(c, i).map_err(|e| Problem::new(i.line, format!("{}: {e}", i.name())))?;
    }
    starts.push(c.program.insts.len() as u32);
    // A body may end without ret or exit.
    let (op, class) = control::leave(c);
    emit(
        c,
        None,
        op,
        class,
        Place {
            line: f.body.last().map_or(f.line, |i| i.line),
            ..Place::default()
        },
    );
    for (at, targets) in std::mem::take(&mut c.jumps) {
        let to = targets.iter().map(|&t| starts[t as usize]).collect::<Vec<u32>>();
        match &mut c.program.insts[at].op {
            Op::Branch(target) => *target = to[0],
            Op::BranchIndexed(_, list) => *list = to.into(),
            _ => {}
        }
    }
    Ok(())
}

fn emit(c: &mut Context, guard: Option<(u32, bool)>, op: Op, class: Class, place: Place) {
    let (guard, negated) = guard.unwrap_or((NONE, false));
    let flops = match op {
        Op::Arith(Arith::Ternary32(Ternary32::Fma(_)), ..) => 2,
        Op::Arith(Arith::Binary32(Binary32::Float(..)), ..) => 1,
        _ => 0,
    };
    c.program.insts.push(Inst {
        op,
        guard,
        negated,
        class,
        flops,
    });
    c.program.places.push(place);
}

fn instruction(c: &mut Context, i: &Instruction) -> Result<(), String> {
    let place = Place {
        line: i.line,
        source: i.source,
    };
    let guard = i.guard.map(|(p, negated)| (c.base[0] + p, negated));
    check::operands(i)?;
    let mut modifiers = Modifiers::new(&i.op);
    let m = &mut modifiers;
    let ops: Vec<(Op, Class)> = match i.op[0].as_str() {
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent" | "griddepcontrol"
        | "setmaxnreg" => {
            if let Some(target) = i.target {
                c.jumps.push((c.program.insts.len(), vec![target]));
            }
            control::lower(c, m, i, &PROVIDED)?
        }
        "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "applypriority" | "discard"
        | "createpolicy" | "cvta" | "isspacep" | "cp" | "membar" | "fence" => access::lower(c, m, i)?,
        "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "elect" | "activemask" | "ldmatrix" | "stmatrix"
        | "movmatrix" | "mma" | "wmma" => sync::lower(c, m, i)?,
        "mbarrier" => mbarrier::lower(c, m, i)?,
        "wgmma" => wgmma::lower(c, m, i)?,
        _ => alu::lower(c, m, i)?,
    };
    modifiers.done()?;
    let first = c.program.insts.len();
    for (op, class) in ops {
        emit(c, guard, op, class, place);
    }
    if let Some(touch) = wgmma::touch(i, &c.watched, c.base[1])
        && let Some(inst) = c.program.insts.get_mut(first)
    {
        let inner = inst.clone();
        inst.op = Op::Watched(Box::new(Watched { touch, inner }));
    }
    Ok(())
}
