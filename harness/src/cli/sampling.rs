//! How tokens are drawn, as flags and as the `[sampling]` table of a file.
use anyhow::{Result, bail};
use kernel::sample::Sampling;
use serde::Deserialize;

#[derive(clap::Args, Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingArgs {
    /// Divides the logits; 0 takes the most likely token [default: 0]
    #[arg(long)]
    temperature: Option<f64>,
    /// Only the k most likely tokens; 0 for all [default: 0]
    #[arg(long)]
    top_k: Option<usize>,
    /// Only the most likely tokens whose probabilities sum to this [default: 1]
    #[arg(long)]
    top_p: Option<f64>,
    /// Only tokens at least this times as likely as the most likely one [default: 0]
    #[arg(long)]
    min_p: Option<f64>,
    /// Divides the logits of tokens already there [default: 1]
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Key of the draws: the same seed gives the same text [default: 0]
    #[arg(long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// These, and where one is not set, that of `file`.
    pub fn over(self, file: Self) -> Self {
        Self {
            temperature: self.temperature.or(file.temperature),
            top_k: self.top_k.or(file.top_k),
            top_p: self.top_p.or(file.top_p),
            min_p: self.min_p.or(file.min_p),
            repetition_penalty: self.repetition_penalty.or(file.repetition_penalty),
            seed: self.seed.or(file.seed),
        }
    }

    /// Checked, with defaults. Errors: a number out of range.
    pub fn sampling(&self) -> Result<Sampling> {
        let number = |name: &str, given: Option<f64>, default: f64, most: f64| {
            let x = given.unwrap_or(default);
            if (0.0..=most).contains(&x) {
                return Ok(x);
            }
            match most {
                f64::MAX => bail!("{name}: expected a number of at least 0, found {x}"),
                _ => bail!("{name}: expected a number from 0 to {most}, found {x}"),
            }
        };
        let penalty = number("repetition_penalty", self.repetition_penalty, 1.0, f64::MAX)?;
        if penalty == 0.0 {
            bail!("repetition_penalty: expected a number above 0, found 0");
        }
        Ok(Sampling {
            temperature: number("temperature", self.temperature, 0.0, f64::MAX)?,
            top_k: self.top_k.unwrap_or(0),
            top_p: number("top_p", self.top_p, 1.0, 1.0)?,
            min_p: number("min_p", self.min_p, 0.0, 1.0)?,
            repetition_penalty: penalty,
        })
    }

    /// Key of the draws.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}
