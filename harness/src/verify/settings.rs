//! "objective" and "config" of case.json, by TRL's names.
use std::path::Path;

use kernel::objective::SettingError;
use kernel::objective::group::{Correction, GroupLoss, GroupPolicy, KlCorrection, Level};
use kernel::objective::ppo::Ppo;
use kernel::objective::preference::{Divergence, Preference, Weighting};
use kernel::objective::rloo::Rloo;
use kernel::objective::sft::SftLoss;
use model_qwen2::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::PreferenceLoss;

/// What is computed from the log-probs.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// Nothing: log-probs, entropies and values only.
    Logprobs,
    /// Supervised fine-tuning.
    Sft(SftLoss),
    /// Preference pairs.
    Dpo(Preference),
    /// Group policy gradient.
    Grpo(GroupPolicy, ScaleRewards),
    /// REINFORCE leave-one-out.
    Rloo {
        /// The loss.
        loss: Rloo,
        /// Factor on the KL in the reward.
        beta: f64,
        /// Whether advantages are normalised over the file.
        normalize: Normalize,
    },
    /// PPO, advantages given.
    Ppo(Ppo),
    /// Minus TRPO's surrogate.
    Trpo,
    /// No loss: the Fisher matrix times the direction that the reference file holds.
    Fisher,
}

/// What group advantages are divided by.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRewards {
    /// The group's standard deviation.
    #[default]
    Group,
    /// That of all rewards of the file.
    Batch,
    /// Nothing.
    None,
}

/// Whether RLOO's advantages are brought to mean 0 and variance 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// As they are.
    No,
    /// Over the whole file.
    Yes,
}

impl Objective {
    /// Reads `config`, without "optimizer", for the objective of that name. Errors: an unknown name or key, a setting out
    /// of range.
    pub fn read(file: &Path, name: &str, config: Value) -> Result<Self> {
        let checked = |r: std::result::Result<(), SettingError>, config: &Value| {
            r.map_err(|e| {
                let found = config.get(e.field).map_or("its default".into(), Value::to_string);
                Error::invalid(file, format!("config.{}", e.field), e.expected, found)
            })
        };
        Ok(match name {
            "logprobs" => {
                keys::<NoKeys>(file, "config", config)?;
                Self::Logprobs
            }
            "sft" => Self::Sft(match keys::<SftKeys>(file, "config", config)?.loss_type {
                SftName::Nll => SftLoss::Nll,
                SftName::Dft => SftLoss::Dft,
            }),
            "dpo" => {
                let preference = keys::<DpoKeys>(file, "config", config.clone())?.preference(file)?;
                checked(preference.check(), &config)?;
                Self::Dpo(preference)
            }
            "grpo" => {
                let k: GrpoKeys = keys(file, "config", config.clone())?;
                let (policy, scale) = (k.policy(file)?, k.scale_rewards);
                checked(policy.check(), &config)?;
                Self::Grpo(policy, scale)
            }
            "rloo" => {
                let k: RlooKeys = keys(file, "config", config)?;
                Self::Rloo {
                    loss: Rloo {
                        epsilon: k.epsilon,
                        epsilon_high: k.epsilon,
                    },
                    beta: k.beta,
                    normalize: if k.normalize_advantages {
                        Normalize::Yes
                    } else {
                        Normalize::No
                    },
                }
            }
            "ppo" => {
                let k: PpoKeys = keys(file, "config", config.clone())?;
                let ppo = Ppo {
                    cliprange: k.cliprange,
                    cliprange_value: k.cliprange_value,
                    vf_coef: k.vf_coef,
                    ent_coef: k.ent_coef,
                };
                checked(ppo.check(), &config)?;
                Self::Ppo(ppo)
            }
            "trpo" => {
                keys::<NoKeys>(file, "config", config)?;
                Self::Trpo
            }
            "fisher" => {
                keys::<NoKeys>(file, "config", config)?;
                Self::Fisher
            }
            other => {
                return Err(Error::invalid(
                    file,
                    "objective",
                    "logprobs, sft, dpo, grpo, rloo, ppo, trpo or fisher",
                    format!("\"{other}\""),
                ));
            }
        })
    }
}

/// `value` as a `T`. Errors: the first key or value that is not one of T's.
pub fn keys<T: DeserializeOwned>(file: &Path, field: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::invalid(file, field, "known keys", e.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SftKeys {
    #[serde(default)]
    loss_type: SftName,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SftName {
    #[default]
    Nll,
    Dft,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DpoKeys {
    loss_type: Value,
    loss_weights: Option<Vec<f64>>,
    beta: f64,
    label_smoothing: f64,
    f_divergence_type: DivergenceName,
    f_alpha_divergence_coef: f64,
    ld_alpha: Option<f64>,
    use_weighting: bool,
    discopop_tau: f64,
}

impl Default for DpoKeys {
    fn default() -> Self {
        let p = Preference::default();
        Self {
            loss_type: "sigmoid".into(),
            loss_weights: None,
            beta: p.beta,
            label_smoothing: p.label_smoothing,
            f_divergence_type: DivergenceName::ReverseKl,
            f_alpha_divergence_coef: 0.5,
            ld_alpha: None,
            use_weighting: false,
            discopop_tau: p.discopop_tau,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum DivergenceName {
    ReverseKl,
    ForwardKl,
    JsDivergence,
    AlphaDivergence,
}

impl DpoKeys {
    fn preference(self, file: &Path) -> Result<Preference> {
        let names: Vec<PreferenceLoss> = match self.loss_type {
            list @ Value::Array(_) => keys(file, "config.loss_type", list)?,
            one => vec![keys(file, "config.loss_type", one)?],
        };
        let weights = self.loss_weights.unwrap_or_else(|| vec![1.0; names.len()]);
        if weights.len() != names.len() {
            let expected = format!("{} numbers, one for each loss", names.len());
            return Err(Error::invalid(
                file,
                "config.loss_weights",
                expected,
                weights.len().to_string(),
            ));
        }
        Ok(Preference {
            terms: names.into_iter().map(PreferenceLoss::kernel).zip(weights).collect(),
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            divergence: match self.f_divergence_type {
                DivergenceName::ReverseKl => Divergence::ReverseKl,
                DivergenceName::ForwardKl => Divergence::ForwardKl,
                DivergenceName::JsDivergence => Divergence::JsDivergence,
                DivergenceName::AlphaDivergence => Divergence::AlphaDivergence(self.f_alpha_divergence_coef),
            },
            ld_alpha: self.ld_alpha,
            weighting: if self.use_weighting {
                Weighting::Wpo
            } else {
                Weighting::None
            },
            discopop_tau: self.discopop_tau,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GrpoKeys {
    loss_type: GroupName,
    beta: f64,
    epsilon: f64,
    epsilon_high: Option<f64>,
    delta: Option<f64>,
    scale_rewards: ScaleRewards,
    importance_sampling_level: LevelName,
    use_bias_correction_kl: bool,
    max_completion_length: Option<f64>,
    entropy_coef: f64,
    top_entropy_quantile: f64,
    sapo_temperature_pos: f64,
    sapo_temperature_neg: f64,
    off_policy_mask_threshold: Option<f64>,
    importance_sampling_cap: Option<f64>,
}

impl Default for GrpoKeys {
    fn default() -> Self {
        Self {
            loss_type: GroupName::Dapo,
            beta: 0.0,
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
            scale_rewards: ScaleRewards::Group,
            importance_sampling_level: LevelName::Token,
            use_bias_correction_kl: true,
            max_completion_length: None,
            entropy_coef: 0.0,
            top_entropy_quantile: 1.0,
            sapo_temperature_pos: 1.0,
            sapo_temperature_neg: 1.05,
            off_policy_mask_threshold: None,
            importance_sampling_cap: None,
        }
    }
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum GroupName {
    Grpo,
    Bnpo,
    DrGrpo,
    Dapo,
    Luspo,
    Cispo,
    Sapo,
    Vespo,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LevelName {
    Token,
    Sequence,
}

impl GrpoKeys {
    fn policy(&self, file: &Path) -> Result<GroupPolicy> {
        let needed = |field: &str, loss: &str, value: Option<f64>| {
            let expected = format!("a number, which {loss} needs");
            value.ok_or_else(|| Error::invalid(file, format!("config.{field}"), expected, "none"))
        };
        let epsilon_high = match self.loss_type {
            GroupName::Cispo => needed("epsilon_high", "cispo", self.epsilon_high)?,
            _ => self.epsilon_high.unwrap_or(self.epsilon),
        };
        Ok(GroupPolicy {
            loss: match self.loss_type {
                GroupName::Grpo => GroupLoss::Grpo,
                GroupName::Bnpo => GroupLoss::Bnpo,
                GroupName::DrGrpo => GroupLoss::DrGrpo {
                    max_completion_length: needed("max_completion_length", "dr_grpo", self.max_completion_length)?,
                },
                GroupName::Dapo => GroupLoss::Dapo,
                GroupName::Luspo => GroupLoss::Luspo,
                GroupName::Cispo => GroupLoss::Cispo,
                GroupName::Sapo => GroupLoss::Sapo {
                    positive: self.sapo_temperature_pos,
                    negative: self.sapo_temperature_neg,
                },
                GroupName::Vespo => GroupLoss::Vespo,
            },
            beta: self.beta,
            epsilon: self.epsilon,
            epsilon_high,
            delta: self.delta,
            level: match self.importance_sampling_level {
                LevelName::Token => Level::Token,
                LevelName::Sequence => Level::Sequence,
            },
            kl_correction: if self.use_bias_correction_kl {
                KlCorrection::Ratio
            } else {
                KlCorrection::None
            },
            off_policy_mask_threshold: self.off_policy_mask_threshold,
            entropy_coef: self.entropy_coef,
            top_entropy_quantile: self.top_entropy_quantile,
            correction: match self.importance_sampling_cap {
                Some(cap) => Correction::TokenTruncate { cap },
                None => Correction::None,
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RlooKeys {
    epsilon: f64,
    beta: f64,
    normalize_advantages: bool,
}

impl Default for RlooKeys {
    fn default() -> Self {
        Self {
            epsilon: 0.2,
            beta: 0.05,
            normalize_advantages: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PpoKeys {
    cliprange: f64,
    cliprange_value: f64,
    vf_coef: f64,
    ent_coef: f64,
}

impl Default for PpoKeys {
    fn default() -> Self {
        let p = Ppo::default();
        Self {
            cliprange: p.cliprange,
            cliprange_value: p.cliprange_value,
            vf_coef: p.vf_coef,
            ent_coef: p.ent_coef,
        }
    }
}
