//! Asynchronous copies that were issued and are not done.

/// What one instruction asked for.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Lanes whose copies are not done.
    pub mask: u32,
    /// Bytes each lane writes.
    pub bytes: u32,
    /// Offsets in shared memory.
    pub to: [u32; 32],
    /// Bytes each lane reads; the rest becomes zero.
    pub sizes: [u32; 32],
    /// Where it reads.
    pub from: [*mut u8; 32],
    /// What it saw there when it was issued.
    pub content: [u128; 32],
    group: u32,
}

/// The copies of one warp. Groups are each lane's own.
#[derive(Clone, Default, Debug)]
pub struct Queue {
    open: [u32; 32],
    pending: Vec<Pending>,
}

impl Pending {
    /// Of these lanes.
    pub fn new(mask: u32, bytes: u32) -> Pending {
        Pending {
            mask,
            bytes,
            to: [0; 32],
            sizes: [0; 32],
            from: [std::ptr::null_mut(); 32],
            content: [0; 32],
            group: 0,
        }
    }
}

impl Queue {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.open = [0; 32];
        self.pending.clear();
    }

    /// Instructions with copies in flight.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Adds to the lanes' open groups.
    pub fn push(&mut self, copy: Pending) {
        let mut left = copy.mask;
        while left != 0 {
            let group = self.open[left.trailing_zeros() as usize];
            let same = (0..32)
                .filter(|&i| left >> i & 1 != 0 && self.open[i] == group)
                .fold(0, |m, i| m | 1 << i);
            self.pending.push(Pending {
                mask: same,
                group,
                ..copy.clone()
            });
            left &= !same;
        }
    }

    /// Closes the lanes' open groups.
    pub fn commit(&mut self, lanes: u32) {
        for (i, open) in self.open.iter_mut().enumerate() {
            *open += lanes >> i & 1;
        }
    }

    /// Takes what must be done when these lanes wait for all but their last `keep` groups, or for everything.
    pub fn wait(&mut self, lanes: u32, keep: Option<u32>) -> Vec<Pending> {
        let mut due = Vec::new();
        let open = self.open;
        self.pending.retain_mut(|p| {
            let is_due = |i: usize| keep.is_none_or(|k| p.group + k < open[i]);
            let ready = (0..32)
                .filter(|&i| (p.mask & lanes) >> i & 1 != 0 && is_due(i))
                .fold(0, |m, i| m | 1 << i);
            if ready != 0 {
                due.push(Pending {
                    mask: ready,
                    ..p.clone()
                });
                p.mask &= !ready;
            }
            p.mask != 0
        });
        due
    }
}
