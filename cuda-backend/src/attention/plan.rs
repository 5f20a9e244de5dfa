//! How the paths of a decode step are cut into tasks.
use kernel::backend::Paths;

use crate::buffer::Buffer;
use crate::device::{Cuda, Element};
use crate::error::Error;

/// Positions of the shortest and of the longest task of a path that has several.
const SHORTEST: usize = 256;
const LONGEST: usize = 1024;
/// Tasks of a path, unless they would be longer than the longest.
const TASKS: usize = 16;
/// Words of a task: row, first piece, end of its pieces, positions.
const TASK: usize = 4;

/// The tasks of a step's paths, on the device: `tasks` of them, then the pieces of consecutive cache rows (first cache row, position in
/// the task), then for each row where its tasks begin.
pub(crate) struct Plan {
    /// How many.
    pub tasks: usize,
    pieces: usize,
    paths: Paths,
    device: Buffer<u32>,
}

impl Plan {
    /// The tasks of these paths over a cache of so many rows. Panics where a path leaves it.
    #[track_caller]
    pub(crate) fn new<T: Element>(b: &Cuda<T>, paths: &Paths, rows: usize) -> Result<Self, Error> {
        let lists = Lists::new(paths, rows);
        let (tasks, pieces) = (lists.tasks.len(), lists.pieces.len());
        let words: Vec<u32> = (lists.tasks.into_iter().flatten())
            .chain(lists.pieces.into_iter().flatten())
            .chain(lists.begin)
            .collect();
        let device = Buffer::copied(b, &words)?;
        let paths = paths.clone();
        Ok(Self {
            tasks,
            pieces,
            paths,
            device,
        })
    }

    /// What it was made of.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The address of the tasks.
    pub(crate) fn tasks_at(&self) -> u64 {
        self.device.address()
    }

    /// The address of the pieces.
    pub(crate) fn pieces_at(&self) -> u64 {
        self.tasks_at() + (self.tasks * TASK * size_of::<u32>()) as u64
    }

    /// The address of where the rows' tasks begin.
    pub(crate) fn begin_at(&self) -> u64 {
        self.pieces_at() + (self.pieces * 2 * size_of::<u32>()) as u64
    }
}

/// A plan's lists on the host.
#[derive(Debug, PartialEq)]
struct Lists {
    tasks: Vec<[u32; TASK]>,
    pieces: Vec<[u32; 2]>,
    begin: Vec<u32>,
}

impl Lists {
    #[track_caller]
    fn new(paths: &Paths, rows: usize) -> Self {
        let mut lists = Self {
            tasks: Vec::new(),
            pieces: Vec::new(),
            begin: vec![0],
        };
        for i in 0..paths.rows() {
            let path = paths.row(i);
            let size = positions(path.iter().map(|span| span.len).sum());
            let mut task = [i, lists.pieces.len(), 0, 0];
            for span in path {
                assert!(
                    span.start <= rows && span.len <= rows - span.start,
                    "attention_decode: {span:?} of {rows} cache rows"
                );
                let (mut start, end) = (span.start, span.start + span.len);
                while start < end {
                    if task[3] == size {
                        lists.close(task);
                        task = [i, lists.pieces.len(), 0, 0];
                    }
                    let take = (end - start).min(size - task[3]);
                    lists.pieces.push([start, task[3]].map(|x| x as u32));
                    task[3] += take;
                    start += take;
                }
            }
            lists.close(task);
            lists.begin.push(lists.tasks.len() as u32);
        }
        lists
    }

    fn close(&mut self, [row, first, _, len]: [usize; TASK]) {
        self.tasks.push([row, first, self.pieces.len(), len].map(|x| x as u32));
    }
}

/// Positions of a task of a path of so many: a function of the path alone.
fn positions(path: usize) -> usize {
    path.div_ceil(TASKS).next_multiple_of(64).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests;
