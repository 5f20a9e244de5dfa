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
/// The row of no task.
const NONE: u32 = u32::MAX;

/// The tasks of a step's paths, on the device: for each row where its tasks begin, then room for `tasks` of them, then the pieces of
/// consecutive cache rows (first cache row, position in the task). What the launch is told changes only where the number of rows does, or
/// where the tasks outgrow their room: so a step is most often the launches of the one before.
pub(crate) struct Plan {
    /// Tasks there is room for; the last ones are [`NONE`].
    pub tasks: usize,
    /// Whether a row has more than one.
    pub splits: bool,
    paths: Paths,
    device: Buffer<u32>,
}

impl Plan {
    /// No paths.
    pub(crate) fn new<T: Element>(b: &Cuda<T>) -> Result<Self, Error> {
        Ok(Self {
            tasks: 0,
            splits: false,
            paths: Paths::new(),
            device: Buffer::zeroed(b, 0)?,
        })
    }

    /// The tasks of these paths over a cache of so many rows; after an error those of no paths. Panics where a path leaves it.
    #[track_caller]
    pub(crate) fn refill<T: Element>(&mut self, b: &Cuda<T>, paths: &Paths, rows: usize) -> Result<(), Error> {
        let lists = Lists::new(paths, rows);
        // What is on the device is not that of the old paths from here on.
        self.paths.clear();
        let (splits, tasks) = (lists.tasks.len() > paths.rows(), room(lists.tasks.len()));
        let tasks_from = tasks_from(paths.rows());
        let mut words = lists.begin;
        words.resize(tasks_from, 0);
        words.extend(lists.tasks.iter().flatten());
        words.resize(tasks_from + tasks * TASK, NONE);
        words.extend(lists.pieces.iter().flatten());
        if words.len() > self.device.len() {
            self.device = Buffer::zeroed(b, words.len().next_power_of_two())?;
        }
        self.device.write(b, &words)?;
        self.paths.clone_from(paths);
        (self.splits, self.tasks) = (splits, tasks);
        Ok(())
    }

    /// What it was made of.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The address of where the rows' tasks begin.
    pub(crate) fn begin_at(&self) -> u64 {
        self.device.address()
    }

    /// The address of the tasks.
    pub(crate) fn tasks_at(&self) -> u64 {
        self.at(tasks_from(self.paths.rows()))
    }

    /// The address of the pieces.
    pub(crate) fn pieces_at(&self) -> u64 {
        self.at(tasks_from(self.paths.rows()) + self.tasks * TASK)
    }

    fn at(&self, word: usize) -> u64 {
        self.device.address() + (word * size_of::<u32>()) as u64
    }
}

/// The word that the tasks of so many rows begin at.
fn tasks_from(rows: usize) -> usize {
    (rows + 1).next_multiple_of(TASK)
}

/// Room for so many tasks.
fn room(tasks: usize) -> usize {
    if tasks <= 64 {
        tasks.next_power_of_two()
    } else {
        tasks.next_multiple_of(64)
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
