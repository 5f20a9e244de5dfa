//! What the trainers share that learn from what the model itself says: prompts, rollouts, rewards, what is left of a
//! generation for training, evaluation.
//!
//! | module | what it holds |
//! |---|---|
//! | `prompts` | [`Prompts`]: tokens and columns |
//! | `rollout` | [`rollouts`]: completions with their log-probs |
//! | `sampler` | [`Sampler`]: a model of integers that they are drawn from where a run says so |
//! | `experience` | [`Experience`], [`Buffer`]: a generation; [`pack`]: batches of it |
//! | `score` | rewards of completions, TRL's metrics, completions.jsonl |
//! | `advantage` | advantages, from groups or from values |
//! | `critic` | [`Critic`]: values from a head on the policy or from a model of its own |
//! | `scene` | [`Scene`]: all of this for one run |

mod advantage;
mod critic;
mod experience;
mod prompts;
mod rollout;
mod sampler;
mod scene;
mod score;

pub use advantage::{compare_groups, estimate};
pub use critic::{Critic, CriticSource, of_values};
pub use experience::{At, Buffer, Experience, Packed, Shuffle, narrow, pack};
pub(crate) use prompts::text;
pub use prompts::{Prompt, Prompts};
pub use rollout::{Drawing, rollouts};
pub use sampler::{Sampler, add_difference};
pub use scene::{LESS_KL, Opened, Scene};
pub use score::spread;
