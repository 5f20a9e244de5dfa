//! The keys of `proximal sft`: TRL 1.16's `SFTConfig`.
use super::keys::keys;
use super::value::choice;
use super::whole::{Config, Trainer};
use crate::plan::Method;
use model_qwen2::Result;

choice! {
    /// The loss.
    pub enum LossType {
        /// Negative log-likelihood.
        Nll = "nll" | "chunked_nll",
        /// Dynamic fine-tuning (arXiv 2508.05629).
        Dft = "dft",
    }
}

choice! {
    /// How samples share a block of `max_length` tokens.
    pub enum PackingStrategy {
        /// Best fit, decreasing; what is over `max_length` is cut off.
        Bfd = "bfd",
        /// Best fit, decreasing; what is over `max_length` becomes a sample of its own.
        BfdSplit = "bfd_split" | "bfd-requeue",
        /// One run of tokens, cut anywhere.
        Wrapped = "wrapped",
    }
}

choice! {
    /// Which part of a sample that is too long stays.
    pub enum TruncationMode {
        /// Its start.
        KeepStart = "keep_start",
    }
}

keys! {
    /// The keys that only SFT has.
    pub struct Sft {
        /// Column with the text, for data that has neither prompt nor messages.
        dataset_text_field: String = "text".into();
        /// Tokens in a sample, or in a block when packing; none is no limit.
        max_length: Option<usize> = Some(1024), in 1.0..;
        /// Which part of a sample that is too long stays.
        truncation_mode: TruncationMode = TruncationMode::KeepStart;
        /// Put several samples into one block of max_length tokens; they do not see each other, but for "wrapped".
        packing: bool = false;
        /// How to pack.
        packing_strategy: PackingStrategy = PackingStrategy::Bfd;
        /// Train on the completion only; unless set, where the data has prompt and completion.
        completion_only_loss: Option<bool> = None;
        /// Train on the assistant's turns only.
        assistant_only_loss: bool = false;
        /// Loss.
        loss_type: LossType = LossType::Nll;
    }
}

/// The configuration of `proximal sft`.
pub type SftConfig = Config<Sft>;

impl Trainer for Sft {
    const COMMAND: &'static str = "sft";
    const METHOD: Method = Method::Sft;

    fn validate(config: &Config<Self>) -> Result<()> {
        if config.own.packing && config.own.max_length.is_none() {
            return Err(config.invalid("max_length", "a whole number, since packing = true", "none"));
        }
        Ok(())
    }
}
