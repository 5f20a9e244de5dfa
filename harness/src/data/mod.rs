//! Data: files into rows, rows into samples, samples into an order and into packed sequences. No tokenizer here:
//! samples are text and messages, packing works on lengths.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | [`DatasetConfig`]: everything `[dataset]` may say |
//! | `source` | which files a split is made of |
//! | `slice` | `train[:1000]`, `test[10%:20%]` |
//! | `read` | JSON lines and arrays, Parquet, CSV, text: [`read_table`] |
//! | `row` | [`Row`], [`Table`] and where a row came from |
//! | `join` | tables joined by id |
//! | `expression`, `template` | functions of columns, prompt templates |
//! | `layout` | the dataset's type and which column plays which role |
//! | `sample` | [`Sample`]: a row as text or messages |
//! | `build` | one row into one sample |
//! | `load` | [`load()`]: all of the above, with a [`Report`] |
//! | `shuffle` | [`permutation`] and [`Sampler`]: the order, which resumes from a [`Cursor`] |
//! | `pack` | [`pack()`] and [`truncate`] |

mod build;
mod config;
mod expression;
mod join;
mod layout;
mod load;
mod nearest;
mod pack;
mod read;
mod row;
mod sample;
mod shuffle;
mod slice;
mod source;
mod template;

pub use config::{DatasetConfig, DatasetType, Empty, Join, Paths, Role, Split, TestSize};
pub use expression::FUNCTIONS;
pub use join::JoinReport;
pub use load::{Dataset, Item, Report, load};
pub(crate) use nearest::one_of;
pub use pack::{Piece, Strategy, Truncation, TruncationMode, pack, truncate};
pub use read::{EXTENSIONS, read_table};
pub use row::{Place, Row, Table, Unit};
pub use sample::{Message, Sample, Turns};
pub use shuffle::{Cursor, Order, Sampler, permutation};
