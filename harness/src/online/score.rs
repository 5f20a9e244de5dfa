//! Rewards of completions, what the log says of a generation, and the completions themselves in JSON lines and a table.
use std::path::Path;

use anyhow::Result;
use model_qwen2::generate::Completion;
use model_qwen2::tokenizer::{Decoding, Tokenize};
use serde_json::{Map, Value, json};

use super::experience::Experience;
use super::prompts::Prompt;
use crate::assets::Assets;
use crate::log::{Logger, Metrics, Start};
use crate::reward::{Rewards, Sample};
use crate::train::Meter;

/// Mean and unbiased standard deviation of the numbers there are; no deviation of fewer than two.
pub fn spread(xs: impl Iterator<Item = f64> + Clone) -> (Option<f64>, Option<f64>) {
    let n = xs.clone().count() as f64;
    if n == 0.0 {
        return (None, None);
    }
    let mean = xs.clone().sum::<f64>() / n;
    let square: f64 = xs.map(|x| (x - mean) * (x - mean)).sum();
    (Some(mean), (n > 1.0).then(|| (square / (n - 1.0)).sqrt()))
}

/// Experiences of `completions`, group after group, with their rewards; and their texts. `prompts` has the number and
/// the prompt of each group. Errors: the reward functions'.
pub fn score(
    rewards: &mut Rewards,
    assets: &Assets,
    prompts: &[(usize, &Prompt)],
    completions: Vec<Vec<Completion>>,
    log: &mut Logger,
) -> Result<(Vec<Experience>, Vec<String>)> {
    let mut texts = Vec::new();
    for completion in completions.iter().flatten() {
        texts.push(assets.tokenizer.decode(&completion.tokens, Decoding::SkipSpecials)?);
    }
    let of = |(group, completion): (usize, &Completion)| (prompts[group].0, prompts[group].1, completion.clone());
    let flat: Vec<_> = completions
        .iter()
        .enumerate()
        .flat_map(|(group, of_group)| of_group.iter().map(move |c| (group, c)))
        .map(of)
        .collect();
    let samples: Vec<Sample<'_>> = flat
        .iter()
        .zip(&texts)
        .map(|((_, prompt, completion), text)| Sample {
            prompt: &prompt.text,
            messages: prompt.messages.as_deref(),
            completion: text,
            completion_ids: &completion.tokens,
            finished: completion.finish,
            columns: &prompt.columns,
        })
        .collect();
    let scored = rewards.score(&samples)?;
    scored.notes.iter().for_each(|note| log.warn(note));
    let experiences = flat
        .into_iter()
        .enumerate()
        .map(|(i, (prompt, _, completion))| Experience {
            prompt,
            tokens: completion.tokens,
            old: completion.logps,
            entropy: completion.entropies.iter().sum(),
            stopped: completion.finish == model_qwen2::generate::Finish::Stop,
            trained: true,
            rewards: scored.by_function.iter().map(|f| f[i]).collect(),
            reward: scored.total[i],
            ..Experience::default()
        });
    Ok((experiences.collect(), texts))
}

/// Lengths and rewards of a generation, under TRL's names; `prefix` is "" or "eval_".
pub fn add_metrics(meter: &mut Meter, prefix: &str, names: &[String], group: usize, experiences: &[Experience]) {
    let mut add = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            meter.add(&format!("{prefix}{name}"), value, 1.0);
        }
    };
    let length = |e: &Experience| e.tokens.len() as f64;
    let all = experiences.iter().map(length);
    add("completions/mean_length", spread(all.clone()).0);
    add("completions/min_length", all.clone().reduce(f64::min));
    add("completions/max_length", all.reduce(f64::max));
    let cut = experiences.iter().filter(|e| !e.stopped).count();
    add("completions/clipped_ratio", Some(cut as f64 / experiences.len() as f64));
    // As TRL: 0 where none ended by itself.
    let ended = experiences.iter().filter(|e| e.stopped).map(length);
    add(
        "completions/mean_terminated_length",
        Some(spread(ended.clone()).0.unwrap_or(0.0)),
    );
    add(
        "completions/min_terminated_length",
        Some(ended.clone().reduce(f64::min).unwrap_or(0.0)),
    );
    add(
        "completions/max_terminated_length",
        Some(ended.reduce(f64::max).unwrap_or(0.0)),
    );
    for (k, name) in names.iter().enumerate() {
        let (mean, std) = spread(experiences.iter().filter_map(|e| e.rewards[k]));
        add(&format!("rewards/{name}/mean"), mean);
        add(&format!("rewards/{name}/std"), std);
    }
    let (mean, std) = spread(experiences.iter().filter_map(|e| e.reward));
    add("reward", mean);
    add("reward_std", std);
    if group > 1 {
        let groups = experiences.chunks(group);
        let count = groups.len() as f64;
        let flat = groups.filter(|g| same_rewards(g)).count();
        add("frac_reward_zero_std", Some(flat as f64 / count));
    }
}

/// Whether a group has nothing to compare.
pub fn same_rewards(group: &[Experience]) -> bool {
    let (_, std) = spread(group.iter().filter_map(|e| e.reward));
    std.is_none_or(|std| std <= 1e-8)
}

/// completions.jsonl.
pub struct CompletionLog {
    lines: Metrics,
    print: usize,
}

impl CompletionLog {
    /// Opens it in `output`; on resume lines after the checkpoint are cut off.
    pub fn open(output: &Path, start: Start, print: Option<usize>) -> Result<Self> {
        Ok(Self {
            lines: Metrics::open(&output.join("completions.jsonl"), start)?,
            print: print.unwrap_or(usize::MAX),
        })
    }

    /// Writes the completions of a generation that step number `step` begins with, and prints some.
    pub fn write(
        &mut self,
        step: u64,
        names: &[String],
        prompts: &[Prompt],
        experiences: &[Experience],
        texts: &[String],
        log: &mut Logger,
    ) -> Result<()> {
        for (e, text) in experiences.iter().zip(texts) {
            let prompt = &prompts[e.prompt];
            let rewards: Map<String, Value> = names.iter().cloned().zip(e.rewards.iter().map(|&r| json!(r))).collect();
            let row = json!({
                "step": step,
                "prompt": prompt.text,
                "completion": text,
                "rewards": rewards,
                "reward": e.reward,
                "advantage": e.advantages.first(),
                "finish": if e.stopped { "stop" } else { "length" },
                "prompt_ids": prompt.ids,
                "completion_ids": e.tokens,
            });
            self.lines.write(&row)?;
        }
        if self.print > 0 {
            log.info(&table(names, prompts, experiences, texts, self.print));
        }
        Ok(())
    }

    /// Brings the lines to the disk: before a checkpoint.
    pub fn sync(&self) -> Result<()> {
        Ok(self.lines.sync()?)
    }
}

/// Some completions with their rewards, a line each.
fn table(names: &[String], prompts: &[Prompt], experiences: &[Experience], texts: &[String], rows: usize) -> String {
    let mut out = format!("{:36}  {:48}  {}  advantage", "prompt", "completion", names.join("  "));
    for (e, text) in experiences.iter().zip(texts).take(rows) {
        let rewards = names.iter().zip(&e.rewards).map(|(name, reward)| {
            let reward = reward.map_or("null".into(), |r| format!("{r:.3}"));
            format!("{reward:>width$}", width = name.len())
        });
        let rewards = rewards.collect::<Vec<_>>().join("  ");
        let advantage = e.advantages.first().map_or("-".into(), |a| format!("{a:.3}"));
        let (prompt, text) = (short(&prompts[e.prompt].text, 36), short(text, 48));
        out += &format!("\n{prompt:36}  {text:48}  {rewards}  {advantage:>9}");
    }
    out
}

/// One line of at most so many characters: the end of a text, where its answer is.
fn short(text: &str, characters: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let count = line.chars().count();
    if count <= characters {
        return line;
    }
    let tail: String = line.chars().skip(count - characters + 1).collect();
    format!("…{tail}")
}
