//! Fences between the generic and the asynchronous proxy (PTX ISA, "Proxies"): what ordinary instructions wrote to shared memory is seen
//! by wgmma and bulk copies only if a `fence.proxy.async` lies between the two, by whichever thread, on the way that orders them.

use super::order::{Clocks, Published, WARPS};

/// A fence of a warp.
struct Fence {
    /// When it was.
    clock: u32,
    /// What was before it: other warps' clocks and the own.
    seen: [u32; WARPS],
    /// What else: prefixes of logs.
    known: Vec<(u32, u32)>,
}

/// The fences of each warp, in order.
#[derive(Default)]
pub struct ProxyFences(Vec<Vec<Fence>>);

impl ProxyFences {
    /// Begins a block.
    pub fn start(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    /// `fence.proxy.async` by a warp.
    pub fn add(&mut self, clocks: &mut Clocks, warp: u32) {
        let (clock, seen, known) = clocks.knowledge(warp);
        if self.0.len() <= warp as usize {
            self.0.resize_with(warp as usize + 1, Vec::new);
        }
        self.0[warp as usize].push(Fence { clock, seen, known });
    }

    /// Whether a fence lies between what warp `writer` did at `clock` and what warp `reader` does now.
    pub fn between(&self, clocks: &Clocks, published: &Published, writer: u32, clock: u32, reader: u32) -> bool {
        self.0.iter().zip(0..).any(|(fences, warp)| {
            // The last that the reader is behind knows the most.
            let mut behind = fences.iter().rev();
            let last = behind.find(|f| warp == reader || clocks.after_warp(published, reader, warp, f.clock));
            last.is_some_and(|f| {
                f.seen[writer as usize] > clock
                    || published.ordered(clocks.block, &f.known, clocks.block, writer, clock)
            })
        })
    }
}
