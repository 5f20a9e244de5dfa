//! From logits to a token, on the device.
use kernel::mat::Mat;
use kernel::sample::{Draw, Sampling};

use crate::buffer::Buffer;
use crate::compile::{Source, source};
use crate::device::{Cuda, Element};
use crate::error::Error;

const SOURCE: Source = source!("sample");
/// Bytes of weights at most.
const BUDGET: usize = 256 << 20;
/// Shared memory of a block: 16 sums for each of 512 threads, and their totals.
const SHARED: usize = (16 * 512 + 16) * size_of::<f64>();
/// Numbers of a draw as the kernel has it.
const FIELDS: usize = 8;
/// No token.
const NONE: u32 = u32::MAX;

/// `Decode::sample`: as `kernel::sample::Sampler` draws, in f64.
#[track_caller]
pub(crate) fn sample<T: Element>(
    b: &Cuda<T>,
    z: &Mat<Buffer<f32>>,
    draws: &[Draw<'_>],
    how: &Sampling,
) -> Result<Vec<Option<u32>>, Error> {
    if z.cols == 0 || draws.is_empty() {
        return Ok(vec![None; draws.len()]);
    }
    let mut contexts: Vec<u32> = Vec::new();
    let mut fields: Vec<u32> = Vec::with_capacity(draws.len() * FIELDS);
    let penalised = how.repetition_penalty != 1.0;
    for Draw { row, context, key } in draws {
        assert!(*row < z.rows, "sample: row {row} of {}", z.rows);
        let from = contexts.len() as u32;
        if penalised {
            contexts.extend_from_slice(context);
        }
        fields.extend([*row as u32, key.prompt, key.completion, key.position]);
        fields.extend([key.seed as u32, (key.seed >> 32) as u32, from, contexts.len() as u32]);
    }
    let (fields, contexts) = (Buffer::copied(b, &fields)?, Buffer::copied(b, &contexts)?);
    let tokens = Buffer::<u32>::zeroed(b, draws.len())?;
    let words = if penalised { z.cols.div_ceil(32) } else { 0 };
    let bytes = z.cols * size_of::<f64>() + words * size_of::<u32>();
    let most = (BUDGET / bytes).clamp(1, draws.len());
    b.room("sample", most * bytes, |room| {
        for first in (0..draws.len()).step_by(most) {
            let name = if penalised { "sample_penalised" } else { "sample" };
            b.kernel(&SOURCE, name)
                .grid([most.min(draws.len() - first), 1, 1])
                .block(512)
                .shared(SHARED)
                .arg(tokens.address() + (first * size_of::<u32>()) as u64)
                .arg(z)
                .arg(fields.address() + (first * FIELDS * size_of::<u32>()) as u64)
                .arg(&contexts)
                .arg(&*room)
                .arg(room.address() + (most * z.cols * size_of::<f64>()) as u64)
                .size(z.cols)
                .arg(how.temperature)
                .arg(1.0 / how.temperature)
                .arg(how.top_k.min(u32::MAX as usize) as u32)
                .arg(how.top_p)
                .arg(how.min_p)
                .arg(how.repetition_penalty)
                .arg(1.0 / how.repetition_penalty)
                .launch();
        }
    });
    let mut drawn = vec![NONE; draws.len()];
    tokens.read(b, &mut drawn)?;
    Ok(drawn.into_iter().map(|t| (t != NONE).then_some(t)).collect())
}
