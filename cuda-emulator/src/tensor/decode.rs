//! From the parts of an opcode, `["mma", "sync", "aligned", "m16n8k16", …]`, to a matrix instruction.

use super::fragment::{Element, Matrix, Shape};
use super::matrix::{Matrices, Order};
use super::mma::{Mma, Overflow};
use super::wmma::{Layout, Multiply, Transfer};

/// A matrix instruction. State spaces (`.shared`, `.global`) are left to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// `mma.sync d, a, b, c`
    Mma(Mma),
    /// `ldmatrix.sync r, [p]`
    Load(Matrices),
    /// `stmatrix.sync [p], r`
    Store(Matrices),
    /// `movmatrix.sync d, a`
    Transpose,
    /// `wmma.load.{a,b,c}.sync r, [p] {, stride}`
    WmmaLoad(Transfer),
    /// `wmma.store.d.sync [p], r {, stride}`
    WmmaStore(Transfer),
    /// `wmma.mma.sync d, a, b, c`
    WmmaMultiply(Multiply),
}

/// The instruction, `None` if it is no matrix one, or what is wrong with it.
pub fn decode(parts: &[&str]) -> Result<Option<Tensor>, String> {
    let spaces = ["global", "shared", "shared::cta", "shared::cluster"];
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !spaces.contains(part)).collect();
    match parts.as_slice() {
        ["mma", rest @ ..] => multiply(rest).map(Some),
        ["ldmatrix", rest @ ..] => matrices(rest).map(Tensor::Load).map(Some),
        ["stmatrix", rest @ ..] => matrices(rest).map(Tensor::Store).map(Some),
        ["movmatrix", "sync", "aligned", "m8n8", "trans", "b16"] => Ok(Some(Tensor::Transpose)),
        ["movmatrix", ..] => refuse(),
        ["wmma", "load", matrix, "sync", "aligned", layout, shape, element] => {
            transfer(matrix, layout, shape, element).map(Tensor::WmmaLoad).map(Some)
        }
        ["wmma", "store", "d", "sync", "aligned", layout, shape, element] => {
            transfer("c", layout, shape, element).map(Tensor::WmmaStore).map(Some)
        }
        ["wmma", "mma", "sync", "aligned", a_layout, b_layout, shape, types @ ..] => {
            layout(a_layout)?;
            layout(b_layout)?;
            wmma(shape, types).map(Some)
        }
        ["wmma", ..] => refuse(),
        _ => Ok(None),
    }
}

fn refuse<T>() -> Result<T, String> {
    Err("this shape, type or modifier is not implemented".into())
}

fn or_refuse<T>(found: Option<T>) -> Result<T, String> {
    found.map_or_else(refuse, Ok)
}

fn layout(name: &str) -> Result<Layout, String> {
    match name {
        "row" => Ok(Layout::Row),
        "col" => Ok(Layout::Column),
        _ => refuse(),
    }
}

fn saturation<'a>(types: &'a [&'a str]) -> (&'a [&'a str], Overflow) {
    match types {
        [rest @ .., "satfinite"] | ["satfinite", rest @ ..] => (rest, Overflow::Saturate),
        _ => (types, Overflow::Wrap),
    }
}

fn multiply(rest: &[&str]) -> Result<Tensor, String> {
    let ["sync", "aligned", shape, "row", "col", types @ ..] = rest else {
        return refuse();
    };
    let (types, overflow) = saturation(types);
    let [d, a, b, c] = types else { return refuse() };
    let element = |name| or_refuse(Element::parse(name));
    let shape = or_refuse(Shape::parse(shape))?;
    // Only wmma mixes accumulators.
    if c != d {
        return refuse();
    }
    or_refuse(Mma::new(
        shape,
        element(d)?,
        element(a)?,
        element(b)?,
        element(c)?,
        overflow,
    ))
    .map(Tensor::Mma)
}

fn wmma(shape: &str, types: &[&str]) -> Result<Tensor, String> {
    let (types, overflow) = saturation(types);
    // The rounding of f64 may be named.
    let types = types
        .strip_prefix(&["rn"])
        .filter(|types| types.contains(&"f64"))
        .unwrap_or(types);
    let element = |name| or_refuse(Element::parse(name));
    let shape = or_refuse(Shape::parse(shape))?;
    let (d, a, b, c) = match types {
        // Products of f16 name the accumulators only.
        [d, c] => (element(d)?, Element::F16, Element::F16, element(c)?),
        [d, a, b, c] => (element(d)?, element(a)?, element(b)?, element(c)?),
        _ => return refuse(),
    };
    or_refuse(Multiply::new(shape, d, a, b, c, overflow)).map(Tensor::WmmaMultiply)
}

fn matrices(rest: &[&str]) -> Result<Matrices, String> {
    let (count, order) = match rest {
        ["sync", "aligned", "m8n8", count, "b16"] => (count, Order::Rows),
        ["sync", "aligned", "m8n8", count, "trans", "b16"] => (count, Order::Transposed),
        _ => return refuse(),
    };
    let count = match *count {
        "x1" => 1,
        "x2" => 2,
        "x4" => 4,
        _ => return refuse(),
    };
    Ok(Matrices { count, order })
}

fn transfer(matrix: &str, order: &str, shape: &str, element: &str) -> Result<Transfer, String> {
    let matrix = match matrix {
        "a" => Matrix::A,
        "b" => Matrix::B,
        "c" => Matrix::C,
        _ => return refuse(),
    };
    let shape = or_refuse(Shape::parse(shape))?;
    or_refuse(Transfer::new(
        matrix,
        shape,
        or_refuse(Element::parse(element))?,
        layout(order)?,
    ))
}
