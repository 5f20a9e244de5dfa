//! One tree of parameters for weights, gradients, moments, names and shapes.
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{Config, Head};
use crate::mat::Shape;

/// A linear layer: weight (out, in), bias (1, out).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linear<M, V = M> {
    /// (out, in).
    pub weight: M,
    /// (1, out).
    pub bias: Option<V>,
}

/// One block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer<M, V = M> {
    /// RMSNorm before attention, (1, C).
    pub attn_norm: V,
    /// (H D, C).
    pub q: Linear<M, V>,
    /// (K D, C).
    pub k: Linear<M, V>,
    /// (K D, C).
    pub v: Linear<M, V>,
    /// (C, H D).
    pub o: Linear<M, V>,
    /// RMSNorm before the feed-forward layer, (1, C).
    pub mlp_norm: V,
    /// (F, C).
    pub gate: Linear<M, V>,
    /// (F, C).
    pub up: Linear<M, V>,
    /// (C, F).
    pub down: Linear<M, V>,
}

/// All parameters of a transformer: matrices `M`, vectors `V`. The one order of its parts is that of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params<M, V = M> {
    /// (V, C).
    pub embed: M,
    /// L blocks.
    pub layers: Vec<Layer<M, V>>,
    /// The last RMSNorm, (1, C).
    pub norm: V,
    /// (V, C); none where the embedding serves.
    pub head: Option<M>,
    /// A scalar head on the last normed state, for critics: weight (1, C), bias (1, 1).
    pub value: Option<Linear<M, V>>,
}

/// Whether a parameter is a matrix of a product or a vector (norm weight, bias).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A product's matrix.
    Matrix,
    /// A norm's weight or a bias.
    Vector,
}

/// A parameter's Hugging Face name, kind and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// "model.layers.0.self_attn.q_proj.weight".
    pub name: String,
    /// Matrix or vector.
    pub kind: Kind,
    /// (rows, cols); a vector is (1, n).
    pub shape: Shape,
}

/// Which value head a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueHead {
    /// None.
    #[default]
    None,
    /// A weight.
    Weight,
    /// A weight and a bias.
    WeightAndBias,
}

/// Walks over one, two or more trees of one shape at once is all that `map`, `zip` and `iter` differ in; each is written
/// by hand once here and nowhere else.
impl<M, V> Linear<M, V> {
    fn try_map<A, B, E>(
        &self,
        m: &mut impl FnMut(&M) -> Result<A, E>,
        v: &mut impl FnMut(&V) -> Result<B, E>,
    ) -> Result<Linear<A, B>, E> {
        Ok(Linear {
            weight: m(&self.weight)?,
            bias: self.bias.as_ref().map(v).transpose()?,
        })
    }
}

impl<M, V> Params<M, V> {
    /// A tree of the same shape, each matrix through `m`, each vector through `v`, in the canonical order.
    pub fn try_map<A, B, E>(
        &self,
        mut m: impl FnMut(&M) -> Result<A, E>,
        mut v: impl FnMut(&V) -> Result<B, E>,
    ) -> Result<Params<A, B>, E> {
        let (m, v) = (&mut m, &mut v);
        Ok(Params {
            embed: m(&self.embed)?,
            layers: self
                .layers
                .iter()
                .map(|l| {
                    Ok(Layer {
                        attn_norm: v(&l.attn_norm)?,
                        q: l.q.try_map(m, v)?,
                        k: l.k.try_map(m, v)?,
                        v: l.v.try_map(m, v)?,
                        o: l.o.try_map(m, v)?,
                        mlp_norm: v(&l.mlp_norm)?,
                        gate: l.gate.try_map(m, v)?,
                        up: l.up.try_map(m, v)?,
                        down: l.down.try_map(m, v)?,
                    })
                })
                .collect::<Result<_, E>>()?,
            norm: v(&self.norm)?,
            head: self.head.as_ref().map(&mut *m).transpose()?,
            value: self.value.as_ref().map(|l| l.try_map(m, v)).transpose()?,
        })
    }

    /// References to all parts in the canonical order.
    pub fn parts(&self) -> Vec<Part<&M, &V>> {
        let mut out = Vec::new();
        out.push(Part::Matrix(&self.embed));
        for l in &self.layers {
            out.push(Part::Vector(&l.attn_norm));
            for lin in [&l.q, &l.k, &l.v, &l.o] {
                lin.push_parts(&mut out);
            }
            out.push(Part::Vector(&l.mlp_norm));
            for lin in [&l.gate, &l.up, &l.down] {
                lin.push_parts(&mut out);
            }
        }
        out.push(Part::Vector(&self.norm));
        out.extend(self.head.as_ref().map(Part::Matrix));
        if let Some(l) = &self.value {
            l.push_parts(&mut out);
        }
        out
    }

    /// Mutable references to all parts in the canonical order.
    pub fn parts_mut(&mut self) -> Vec<Part<&mut M, &mut V>> {
        let mut out = Vec::new();
        out.push(Part::Matrix(&mut self.embed));
        for l in &mut self.layers {
            out.push(Part::Vector(&mut l.attn_norm));
            for lin in [&mut l.q, &mut l.k, &mut l.v, &mut l.o] {
                lin.push_parts_mut(&mut out);
            }
            out.push(Part::Vector(&mut l.mlp_norm));
            for lin in [&mut l.gate, &mut l.up, &mut l.down] {
                lin.push_parts_mut(&mut out);
            }
        }
        out.push(Part::Vector(&mut self.norm));
        out.extend(self.head.as_mut().map(Part::Matrix));
        if let Some(l) = &mut self.value {
            l.push_parts_mut(&mut out);
        }
        out
    }
}

/// A part of a tree whose matrices and vectors are of different types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<M, V> {
    /// A product's matrix.
    Matrix(M),
    /// A norm's weight or a bias.
    Vector(V),
}

impl<M, V> Linear<M, V> {
    fn push_parts<'a>(&'a self, out: &mut Vec<Part<&'a M, &'a V>>) {
        out.push(Part::Matrix(&self.weight));
        out.extend(self.bias.as_ref().map(Part::Vector));
    }

    fn push_parts_mut<'a>(&'a mut self, out: &mut Vec<Part<&'a mut M, &'a mut V>>) {
        out.push(Part::Matrix(&mut self.weight));
        out.extend(self.bias.as_mut().map(Part::Vector));
    }
}

impl<T> Params<T> {
    /// All parts in the canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts().into_iter().map(|p| match p {
            Part::Matrix(x) | Part::Vector(x) => x,
        })
    }

    /// All parts, mutably, in the canonical order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.parts_mut().into_iter().map(|p| match p {
            Part::Matrix(x) | Part::Vector(x) => x,
        })
    }

    /// Part `i` of the canonical order. Panics where there is none.
    #[track_caller]
    pub fn at(&self, i: usize) -> &T {
        match self.parts()[i] {
            Part::Matrix(x) | Part::Vector(x) => x,
        }
    }

    /// Part `i` of the canonical order, mutably. Panics where there is none.
    #[track_caller]
    pub fn at_mut(&mut self, i: usize) -> &mut T {
        match self.parts_mut().swap_remove(i) {
            Part::Matrix(x) | Part::Vector(x) => x,
        }
    }
}

impl Params<Spec> {
    /// Names (as Hugging Face has them), kinds and shapes of a model's parameters.
    pub fn specs(config: &Config, value: ValueHead) -> Self {
        let c = config.hidden;
        let (qd, kd) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let vector = |name: String, n: usize| Spec {
            name,
            kind: Kind::Vector,
            shape: (1, n),
        };
        let matrix = |name: String, rows: usize, cols: usize| Spec {
            name,
            kind: Kind::Matrix,
            shape: (rows, cols),
        };
        let linear = |name: String, out: usize, inp: usize, bias: bool| Linear {
            bias: bias.then(|| vector(format!("{name}.bias"), out)),
            weight: matrix(format!("{name}.weight"), out, inp),
        };
        let layers = (0..config.layers)
            .map(|i| {
                let at = |part: &str| format!("model.layers.{i}.{part}");
                let (qkv, output, mlp) = (config.bias.qkv, config.bias.output, config.bias.mlp);
                Layer {
                    attn_norm: vector(at("input_layernorm.weight"), c),
                    q: linear(at("self_attn.q_proj"), qd, c, qkv),
                    k: linear(at("self_attn.k_proj"), kd, c, qkv),
                    v: linear(at("self_attn.v_proj"), kd, c, qkv),
                    o: linear(at("self_attn.o_proj"), c, qd, output),
                    mlp_norm: vector(at("post_attention_layernorm.weight"), c),
                    gate: linear(at("mlp.gate_proj"), config.intermediate, c, mlp),
                    up: linear(at("mlp.up_proj"), config.intermediate, c, mlp),
                    down: linear(at("mlp.down_proj"), c, config.intermediate, mlp),
                }
            })
            .collect();
        Params {
            embed: matrix("model.embed_tokens.weight".into(), config.vocab, c),
            layers,
            norm: vector("model.norm.weight".into(), c),
            head: (config.head == Head::Untied).then(|| matrix("lm_head.weight".into(), config.vocab, c)),
            value: (value != ValueHead::None).then(|| linear("v_head".into(), 1, c, value == ValueHead::WeightAndBias)),
        }
    }

    /// How many numbers there are in all.
    pub fn count(&self) -> usize {
        self.iter().map(|s| s.shape.0 * s.shape.1).sum()
    }
}

#[cfg(test)]
mod tests;
