//! The keys of every trainer: TRL 1.16's names and defaults (transformers 5.23 `TrainingArguments`, with TRL's own
//! learning rate, logging and checkpointing).
//!
//! Where this differs from TRL: `dtype` is f32 unless `bf16 = true` (TRL turns bf16 on when nothing is said);
//! `shuffle` replaces `train_sampling_strategy`; `warmup_ratio`, `logging_dir` and `overwrite_output_dir` are still
//! taken although transformers 5 dropped them.
use std::path::PathBuf;

use super::keys::keys;
use super::value::{Steps, Value, choice};

choice! {
    /// How the learning rate moves after the warm-up.
    pub enum Scheduler {
        /// Down to 0 in a line.
        Linear = "linear",
        /// Down to 0 along half a cosine.
        Cosine = "cosine",
        /// Constant from the first step.
        Constant = "constant",
        /// Constant after the warm-up.
        ConstantWithWarmup = "constant_with_warmup",
    }
}

choice! {
    /// When to evaluate or save.
    pub enum Strategy {
        /// Never during training.
        No = "no",
        /// Every so many steps.
        Steps = "steps",
        /// At the end of each epoch.
        Epoch = "epoch",
    }
}

choice! {
    /// An element type: that of weights and activations, or that of what the optimizer keeps. Sums are f32 in both.
    pub enum Dtype {
        /// 32-bit float.
        F32 = "f32" | "float32",
        /// bfloat16.
        Bf16 = "bf16" | "bfloat16",
    }
}

choice! {
    /// What computes.
    pub enum DeviceKind {
        /// The CPU.
        Cpu = "cpu",
        /// An NVIDIA GPU, or the emulated one.
        Cuda = "cuda",
    }
}

choice! {
    /// The optimizer.
    pub enum Optimizer {
        /// AdamW, as PyTorch defines it.
        AdamW = "adamw_torch" | "adamw_torch_fused" | "adamw",
    }
}

choice! {
    /// Where metrics go besides metrics.jsonl.
    pub enum ReportTo {
        /// Nowhere else.
        None = "none",
        /// TensorBoard event files.
        TensorBoard = "tensorboard",
    }
}

keys! {
    /// The keys that every trainer has.
    pub struct Shared {
        /// Folder of the model to train (also: model).
        model_name_or_path: PathBuf = PathBuf::new();
        /// Folder for checkpoints, logs and the trained model.
        output_dir: PathBuf = "trainer_output".into();
        /// Training data: a table, for instance dataset.path.
        dataset: Option<toml::Value> = None;
        /// Held-out data, the same kind of table.
        eval_dataset: Option<toml::Value> = None;
        /// Peak learning rate.
        learning_rate: f64 = 2e-5, in 0.0..;
        /// How the learning rate moves.
        lr_scheduler_type: Scheduler = Scheduler::Linear;
        /// Steps of linear warm-up.
        warmup_steps: Steps = Steps::Count(0);
        /// Warm-up as a share of all steps, instead of warmup_steps.
        warmup_ratio: Option<f64> = None, in 0.0..=1.0;
        /// Samples in a micro-batch.
        per_device_train_batch_size: usize = 8, in 1.0..;
        /// Samples in a batch of the evaluation.
        per_device_eval_batch_size: usize = 8, in 1.0..;
        /// Micro-batches in an optimizer step.
        gradient_accumulation_steps: usize = 1, in 1.0..;
        /// Passes over the data, also part of one.
        num_train_epochs: f64 = 3.0, in f64::MIN_POSITIVE..;
        /// Optimizer steps, instead of num_train_epochs when above 0.
        max_steps: i64 = -1, in -1.0..;
        /// Optimizer.
        optim: Optimizer = Optimizer::AdamW;
        /// Decoupled weight decay; norms and biases are exempt.
        weight_decay: f64 = 0.0, in 0.0..;
        /// Decay of the first moment.
        adam_beta1: f64 = 0.9, in 0.0..1.0;
        /// Decay of the second moment.
        adam_beta2: f64 = 0.999, in 0.0..1.0;
        /// Added to the denominator of AdamW.
        adam_epsilon: f64 = 1e-8, in f64::MIN_POSITIVE..;
        /// Global gradient norm above which gradients are scaled down; 0 is never.
        max_grad_norm: f64 = 1.0, in 0.0..;
        /// Element type.
        dtype: Option<Dtype> = None;
        /// Element type of master weights and AdamW's moments. bf16, with dtype = "bf16": no f32 copy, stochastic rounding.
        master_dtype: Dtype = Dtype::F32;
        /// TRL's way to say dtype = "bf16".
        bf16: Option<bool> = None;
        /// What computes.
        device: DeviceKind = DeviceKind::Cpu;
        /// Recompute activations in the backward pass (also: activation_checkpointing).
        gradient_checkpointing: bool = true;
        /// Threads; all cores unless set.
        threads: Option<usize> = None, in 1.0..=1024.0;
        /// Steps between two lines of the log.
        logging_steps: Steps = Steps::Count(10), in f64::MIN_POSITIVE..;
        /// Log the first step too.
        logging_first_step: bool = false;
        /// Where metrics go besides metrics.jsonl.
        report_to: ReportTo = ReportTo::None;
        /// Folder of the TensorBoard event files; output_dir/runs unless set.
        logging_dir: Option<PathBuf> = None;
        /// Name of the run in TensorBoard: a folder under logging_dir.
        run_name: Option<String> = None;
        /// When to evaluate; unless never, after the last step too.
        eval_strategy: Strategy = Strategy::No;
        /// Steps between two evaluations; logging_steps unless set.
        eval_steps: Option<Steps> = None, in f64::MIN_POSITIVE..;
        /// Evaluate before the first step too.
        eval_on_start: bool = false;
        /// When to save a checkpoint.
        save_strategy: Strategy = Strategy::Steps;
        /// Steps between two checkpoints.
        save_steps: Steps = Steps::Count(500), in f64::MIN_POSITIVE..;
        /// Checkpoints to keep; the best and the newest always stay.
        save_total_limit: Option<usize> = None, in 1.0..;
        /// End with the weights of the best evaluation.
        load_best_model_at_end: bool = false;
        /// The metric that says which is best; loss unless set.
        metric_for_best_model: Option<String> = None;
        /// Whether more of that metric is better; not for one that ends in loss.
        greater_is_better: Option<bool> = None;
        /// Seed of everything random.
        seed: u64 = 42;
        /// Seed of the order of the data; seed unless set.
        data_seed: Option<u64> = None;
        /// Draw the samples of each epoch in random order.
        shuffle: bool = true;
        /// Chat template: a Jinja file, or a folder with a tokenizer that has one.
        chat_template_path: Option<PathBuf> = None;
        /// Token that ends a turn; the tokenizer's unless set.
        eos_token: Option<String> = None;
        /// Token for padding; the tokenizer's unless set.
        pad_token: Option<String> = None;
        /// Questions that the trained model answers at the end.
        questions: Vec<String> = Vec::new();
    }
}

keys! {
    /// How to run, not what: these are not saved with the configuration.
    pub struct Switches {
        /// Go on from the newest good checkpoint of output_dir, or from the one named (also: resume_from_checkpoint).
        resume: Resume = Resume::No;
        /// Start anew in a folder that is not empty; its checkpoints are removed.
        overwrite_output_dir: bool = false;
        /// Print the result as JSON.
        json: bool = false;
    }
}

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// At step 0.
    No,
    /// At the newest checkpoint whose checksums hold.
    Latest,
    /// At this checkpoint.
    From(PathBuf),
}

impl Value for Resume {
    fn expected() -> String {
        "true, false, or the path of a checkpoint".into()
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        match bool::from_toml(value) {
            Some(true) => Some(Self::Latest),
            Some(false) => Some(Self::No),
            None => PathBuf::from_toml(value).map(Self::From),
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        match self {
            Self::No => false.to_toml(),
            Self::Latest => true.to_toml(),
            Self::From(path) => path.to_toml(),
        }
    }
    fn from_words(words: &[String]) -> Option<Self> {
        match words {
            [] => Some(Self::Latest),
            [word] => Self::from_toml(&super::value::guess(word)),
            _ => None,
        }
    }
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Greater,
    /// Less is better.
    Less,
}

/// The two keys that say the element type disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision {
    /// What `dtype` says.
    pub dtype: Dtype,
    /// What `bf16` says.
    pub bf16: bool,
}

impl Shared {
    /// The element type; an error when `dtype` and `bf16` say different things.
    pub fn precision(&self) -> Result<Dtype, Precision> {
        match (self.dtype, self.bf16) {
            (Some(dtype), Some(bf16)) if bf16 != (dtype == Dtype::Bf16) => Err(Precision { dtype, bf16 }),
            (Some(dtype), _) => Ok(dtype),
            (None, Some(true)) => Ok(Dtype::Bf16),
            (None, _) => Ok(Dtype::F32),
        }
    }

    /// Steps of warm-up in a run of `total` optimizer steps.
    pub fn warmup(&self, total: u64) -> u64 {
        match self.warmup_ratio {
            Some(ratio) => (total as f64 * ratio).ceil() as u64,
            None => self.warmup_steps.of(total),
        }
    }

    /// Steps between evaluations in a run of `total` optimizer steps, for [`Strategy::Steps`].
    pub fn eval_interval(&self, total: u64) -> u64 {
        self.eval_steps.unwrap_or(self.logging_steps).of(total)
    }

    /// The seed of the order of the data.
    pub fn data_seed(&self) -> u64 {
        self.data_seed.unwrap_or(self.seed)
    }

    /// The metric that chooses the best checkpoint, with its `eval_` prefix, and which way it is better.
    pub fn best_metric(&self) -> (String, Direction) {
        let name = self.metric_for_best_model.as_deref().unwrap_or("loss");
        let greater = self.greater_is_better.unwrap_or(!name.ends_with("loss"));
        let name = if name.starts_with("eval_") {
            name.to_owned()
        } else {
            format!("eval_{name}")
        };
        (name, if greater { Direction::Greater } else { Direction::Less })
    }

    /// The folder of the event files: `logging_dir`, or `runs` in the output folder, then the run's name.
    pub fn tensorboard_dir(&self) -> PathBuf {
        let folder = self.logging_dir.clone().unwrap_or_else(|| self.output_dir.join("runs"));
        match &self.run_name {
            Some(name) => folder.join(name),
            None => folder,
        }
    }
}
