//! The keys of `proximal dpo`: TRL 1.16's `DPOConfig`, and `ref_model`, which TRL's trainer takes as an argument.
//!
//! Where this differs from TRL: `label_smoothing` counts for `sigmoid` and the aot losses too (cDPO).
use crate::plan::{Beside, Method, Reference};
use std::path::PathBuf;

use kernel::objective::preference::{Divergence, PairLoss, Preference, Weighting};
use model_qwen2::Result;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::keys::keys;
use super::sft::TruncationMode;
use super::shared::Shared;
use super::value::{Value, choice};
use super::whole::{Config, Trainer};

choice! {
    /// A loss of the family; the formulas are in [`PairLoss`].
    pub enum PreferenceLoss {
        /// DPO; with label smoothing cDPO.
        Sigmoid = "sigmoid",
        /// SLiC.
        Hinge = "hinge",
        /// IPO, averaged over tokens.
        Ipo = "ipo",
        /// DPO on averages over tokens.
        SigmoidNorm = "sigmoid_norm",
        /// EXO.
        ExoPair = "exo_pair",
        /// NCA.
        NcaPair = "nca_pair",
        /// BCO.
        BcoPair = "bco_pair",
        /// Robust DPO.
        Robust = "robust",
        /// SPPO.
        SppoHard = "sppo_hard",
        /// AOT on pairs.
        Aot = "aot",
        /// AOT on unpaired completions.
        AotUnpaired = "aot_unpaired",
        /// APO-zero.
        ApoZero = "apo_zero",
        /// APO-down.
        ApoDown = "apo_down",
        /// DiscoPOP.
        Discopop = "discopop",
        /// Negative log-likelihood of the chosen completion.
        Sft = "sft",
    }
}

choice! {
    /// The divergence that holds the policy to the reference.
    pub enum FDivergence {
        /// KL(policy || reference).
        ReverseKl = "reverse_kl",
        /// KL(reference || policy).
        ForwardKl = "forward_kl",
        /// Jensen-Shannon.
        JsDivergence = "js_divergence",
        /// Alpha.
        AlphaDivergence = "alpha_divergence",
    }
}

keys! {
    /// The keys that only DPO has.
    pub struct Dpo {
        /// Loss, or several that are added up.
        loss_type: Vec<PreferenceLoss> = vec![PreferenceLoss::Sigmoid];
        /// A weight for each loss; 1 unless set.
        loss_weights: Option<Vec<f64>> = None;
        /// Strength of the hold of the reference.
        beta: f64 = 0.1, in f64::MIN_POSITIVE..;
        /// Probability that a label is wrong.
        label_smoothing: f64 = 0.0, in 0.0..=1.0;
        /// Divergence from the reference.
        f_divergence_type: FDivergence = FDivergence::ReverseKl;
        /// The alpha of alpha_divergence.
        f_alpha_divergence_coef: f64 = 0.5;
        /// LD-DPO: what a token past the length of the shorter completion counts.
        ld_alpha: Option<f64> = None, in 0.0..=1.0;
        /// WPO: weigh a pair by how likely the policy finds it.
        use_weighting: bool = false;
        /// DiscoPOP's temperature.
        discopop_tau: f64 = 0.05, in f64::MIN_POSITIVE..;
        /// Tokens in a prompt with a completion; none is no limit.
        max_length: Option<usize> = Some(1024), in 1.0..;
        /// Which part of a completion that is too long stays.
        truncation_mode: TruncationMode = TruncationMode::KeepStart;
        /// Folder of the reference model; the starting weights unless set.
        ref_model: Option<PathBuf> = None;
        /// Compute the reference's log-probs once, keep them in the output folder, and no reference in memory.
        precompute_ref_log_probs: bool = false;
        /// Pairs in a batch of that; the training's or evaluation's unless set.
        precompute_ref_batch_size: Option<usize> = None, in 1.0..;
        /// TR-DPO: move the reference towards the policy during training.
        sync_ref_model: bool = false;
        /// TR-DPO: the policy's share, reference = alpha policy + (1 - alpha) reference.
        ref_model_mixup_alpha: f64 = 0.6, in 0.0..=1.0;
        /// TR-DPO: optimizer steps between two such moves.
        ref_model_sync_steps: u64 = 512, in 1.0..;
    }
}

/// The configuration of `proximal dpo`.
pub type DpoConfig = Config<Dpo>;

impl Trainer for Dpo {
    const COMMAND: &'static str = "dpo";
    const METHOD: Method = Method::Dpo;

    fn shared() -> Shared {
        Shared {
            learning_rate: 1e-6,
            ..Shared::default()
        }
    }

    fn beside(&self) -> Beside {
        let reference = match self.sync_ref_model {
            true => Reference::Moving,
            false => Reference::Frozen,
        };
        Beside {
            reference,
            ..Self::METHOD.beside()
        }
    }

    fn validate(config: &Config<Self>) -> Result<()> {
        let own = &config.own;
        if let Some(weights) = own.loss_weights.as_ref().filter(|w| w.len() != own.loss_type.len()) {
            let expected = format!("{} numbers, one for each loss_type", own.loss_type.len());
            return Err(config.invalid("loss_weights", expected, weights.len().to_string()));
        }
        if own.sync_ref_model && own.precompute_ref_log_probs {
            return Err(config.invalid(
                "sync_ref_model",
                "false with precompute_ref_log_probs, since the reference would move on from what was computed",
                "true",
            ));
        }
        own.preference().check().map_err(|e| {
            let found = own.to_toml_value(e.field);
            config.invalid(e.field, e.expected, found)
        })
    }
}

impl Dpo {
    /// The objective that the keys describe.
    pub fn preference(&self) -> Preference {
        let weights = self.loss_weights.clone().unwrap_or_default();
        let weights = weights.into_iter().chain(std::iter::repeat(1.0));
        Preference {
            terms: self.loss_type.iter().map(|l| l.kernel()).zip(weights).collect(),
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            divergence: match self.f_divergence_type {
                FDivergence::ReverseKl => Divergence::ReverseKl,
                FDivergence::ForwardKl => Divergence::ForwardKl,
                FDivergence::JsDivergence => Divergence::JsDivergence,
                FDivergence::AlphaDivergence => Divergence::AlphaDivergence(self.f_alpha_divergence_coef),
            },
            ld_alpha: self.ld_alpha,
            weighting: match self.use_weighting {
                true => Weighting::Wpo,
                false => Weighting::None,
            },
            discopop_tau: self.discopop_tau,
        }
    }

    /// A key's value, for messages.
    fn to_toml_value(&self, key: &str) -> String {
        use super::keys::Keys;
        self.to_toml().get(key).map_or("nothing".into(), ToString::to_string)
    }
}

impl<'de> Deserialize<'de> for PreferenceLoss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_toml(&toml::Value::String(name.clone()))
            .ok_or_else(|| D::Error::custom(format!("unknown loss_type `{name}`, expected {}", Self::expected())))
    }
}

impl PreferenceLoss {
    /// The objective of this name.
    pub fn kernel(self) -> PairLoss {
        match self {
            Self::Sigmoid => PairLoss::Sigmoid,
            Self::Hinge => PairLoss::Hinge,
            Self::Ipo => PairLoss::Ipo,
            Self::SigmoidNorm => PairLoss::SigmoidNorm,
            Self::ExoPair => PairLoss::ExoPair,
            Self::NcaPair => PairLoss::NcaPair,
            Self::BcoPair => PairLoss::BcoPair,
            Self::Robust => PairLoss::Robust,
            Self::SppoHard => PairLoss::SppoHard,
            Self::Aot => PairLoss::Aot,
            Self::AotUnpaired => PairLoss::AotUnpaired,
            Self::ApoZero => PairLoss::ApoZero,
            Self::ApoDown => PairLoss::ApoDown,
            Self::Discopop => PairLoss::Discopop,
            Self::Sft => PairLoss::Sft,
        }
    }
}

#[cfg(test)]
mod tests;
