//! Passes through the banks of shared memory.

/// Passes through the 32 banks of shared memory that a request takes, and that it would take without conflicts.
///
/// Lanes take part 32 at a time for accesses of up to 4 bytes, 16 for 8, 8 for 16. In such a phase a bank gives one of its
/// 4-byte words in a pass, to all lanes that want it.
pub fn wavefronts(mask: u32, addresses: &[u64; 32], bytes: u32) -> (u64, u64) {
    let shift = bytes.max(4).trailing_zeros();
    // An aligned access covers the same banks as every other one in its place of the 128 bytes.
    let per = 128usize >> shift;
    let (mut passes, mut ideal) = (0, 0);
    for phase in (0..32).step_by(per) {
        let lanes = mask >> phase & (u64::MAX >> (64 - per)) as u32;
        if lanes == 0 {
            continue;
        }
        ideal += 1;
        // Mostly every lane has a place of its own.
        let mut places = 0u32;
        for (i, &a) in addresses[phase..phase + per].iter().enumerate() {
            places |= (lanes >> i & 1) << ((a >> shift) as usize & (per - 1));
        }
        if places.count_ones() == lanes.count_ones() {
            passes += 1;
            continue;
        }
        let mut of_place = [u64::MAX; 32];
        let mut conflict = false;
        for (i, &a) in addresses[phase..phase + per].iter().enumerate() {
            if lanes >> i & 1 != 0 {
                let word = a >> shift;
                let place = &mut of_place[word as usize & (per - 1)];
                conflict |= *place != u64::MAX && *place != word;
                *place = word;
            }
        }
        passes += if conflict {
            busiest(lanes, &addresses[phase..phase + per], shift, per)
        } else {
            1
        };
    }
    (passes, ideal)
}

/// The most different words that one place has to give.
fn busiest(lanes: u32, addresses: &[u64], shift: u32, per: usize) -> u64 {
    let mut seen = [0u64; 32];
    let mut n = 0;
    let mut load = [0u8; 32];
    for (_, &a) in addresses.iter().enumerate().filter(|(i, _)| lanes >> i & 1 != 0) {
        let word = a >> shift;
        if !seen[..n].contains(&word) {
            seen[n] = word;
            n += 1;
            load[word as usize & (per - 1)] += 1;
        }
    }
    load.into_iter().max().unwrap_or(0).into()
}
