//! Interim device memory with the interface of memory::Device.
#![allow(missing_docs, clippy::undocumented_unsafe_blocks)]

use crate::fault::FaultKind;
use crate::memory::{Kind, Misuse};
use std::collections::BTreeMap;

struct Block {
    bytes: usize,
    data: *mut u8,
    written: Vec<bool>,
    live: bool,
    hidden: bool,
}

pub struct Arena {
    blocks: BTreeMap<u64, Block>,
    total: u64,
    used: u64,
}

unsafe impl Send for Arena {}

impl Arena {
    pub fn new(total: u64) -> Arena {
        Arena {
            blocks: BTreeMap::new(),
            total,
            used: 0,
        }
    }
    pub fn capacity(&self) -> u64 {
        self.total
    }
    pub fn used(&self) -> u64 {
        self.used
    }
    pub fn allocate(&mut self, bytes: u64, _kind: Kind) -> Option<u64> {
        if self.used + bytes > self.total {
            return None;
        }
        let v = vec![0xcbu8; bytes as usize + 512].leak();
        let data = v.as_mut_ptr();
        let data = unsafe { data.add(data.align_offset(256)) };
        self.used += bytes;
        let a = data.expose_provenance() as u64;
        self.blocks.insert(
            a,
            Block {
                bytes: bytes as usize,
                data,
                written: vec![false; bytes as usize],
                live: true,
                hidden: false,
            },
        );
        Some(a)
    }
    pub unsafe fn map_host(&mut self, data: *mut u8, bytes: u64) {
        let a = data.expose_provenance() as u64;
        self.blocks.insert(
            a,
            Block {
                bytes: bytes as usize,
                data,
                written: vec![true; bytes as usize],
                live: true,
                hidden: false,
            },
        );
    }
    pub fn free(&mut self, a: u64) -> Result<(), Misuse> {
        if let Some(b) = self.blocks.get_mut(&a) {
            b.live = false;
            self.used -= (b.bytes as u64).min(self.used);
        }
        Ok(())
    }
    pub fn hide(&mut self, a: u64, hidden: bool) {
        if let Some(b) = self.blocks.get_mut(&a) {
            b.hidden = hidden;
        }
    }
    fn find(&self, a: u64, n: u64) -> Result<(u64, usize), Misuse> {
        let bad = |kind, message: &str| Misuse {
            kind,
            message: message.into(),
        };
        let Some((s, b)) = self.blocks.range(..=a).next_back() else {
            return Err(bad(FaultKind::OutOfBounds, "no memory"));
        };
        let o = (a - s) as usize;
        if o + n as usize > b.bytes {
            return Err(bad(FaultKind::OutOfBounds, "outside"));
        }
        if !b.live || b.hidden {
            return Err(bad(FaultKind::Freed, "freed"));
        }
        Ok((*s, o))
    }
    pub fn write(&mut self, a: u64, data: &[u8]) -> Result<(), Misuse> {
        let (s, o) = self.find(a, data.len() as u64)?;
        let b = self.blocks.get_mut(&s).unwrap();
        unsafe { b.data.add(o).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        b.written[o..o + data.len()].fill(true);
        Ok(())
    }
    pub fn fill(&mut self, a: u64, pattern: &[u8], count: u64) -> Result<(), Misuse> {
        let data: Vec<u8> = pattern
            .iter()
            .copied()
            .cycle()
            .take(pattern.len() * count as usize)
            .collect();
        self.write(a, &data)
    }
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Misuse> {
        let mut data = vec![0; bytes as usize];
        self.read(from, &mut data)?;
        let (s, o) = self.find(from, bytes)?;
        let written = self.blocks[&s].written[o..o + bytes as usize].to_vec();
        self.write(to, &data)?;
        let (s, o) = self.find(to, bytes)?;
        self.blocks.get_mut(&s).unwrap().written[o..o + bytes as usize].copy_from_slice(&written);
        Ok(())
    }
    pub fn read(&self, a: u64, data: &mut [u8]) -> Result<(), Misuse> {
        let (s, o) = self.find(a, data.len() as u64)?;
        unsafe {
            self.blocks[&s]
                .data
                .add(o)
                .copy_to_nonoverlapping(data.as_mut_ptr(), data.len())
        };
        Ok(())
    }
    pub fn uninitialised(&self, a: u64, n: u64) -> Result<(u64, Option<u64>), Misuse> {
        let (s, o) = self.find(a, n)?;
        let w = &self.blocks[&s].written[o..o + n as usize];
        Ok((
            w.iter().filter(|w| !**w).count() as u64,
            w.iter().position(|w| !w).map(|i| i as u64),
        ))
    }
}
