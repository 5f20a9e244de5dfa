//! What people see on stderr: a bar on a terminal, plain lines elsewhere.
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The bar or the lines.
pub struct Display {
    out: Out,
    total: u64,
    first: u64,
    step: u64,
    tokens: u64,
    begin: Instant,
}

enum Out {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Display({}/{})", self.step, self.total)
    }
}

impl Display {
    /// A bar when stderr is a terminal, lines when it is not; `total` steps, of which `first` are done.
    pub fn stderr(total: u64, first: u64) -> Self {
        let out = if std::io::stderr().is_terminal() {
            Out::Bar(bar(total, first))
        } else {
            Out::Lines(Box::new(std::io::stderr()))
        };
        Self::new(out, total, first)
    }

    /// Lines to `writer`.
    pub fn lines(writer: impl Write + Send + 'static, total: u64, first: u64) -> Self {
        Self::new(Out::Lines(Box::new(writer)), total, first)
    }

    fn new(out: Out, total: u64, first: u64) -> Self {
        Self {
            out,
            total,
            first,
            step: first,
            tokens: 0,
            begin: Instant::now(),
        }
    }

    /// A step is done: some numbers of it (loss, reward, KL), and the tokens that it had.
    pub fn progress(&mut self, step: u64, shown: &[(&str, f64)], tokens: u64) {
        self.step = step;
        self.tokens += tokens;
        if let Out::Bar(bar) = &self.out {
            bar.set_position(step);
            let mut message: String = shown
                .iter()
                .map(|(name, value)| format!("{name} {} ", short(*value)))
                .collect();
            message += &self.speed(self.begin.elapsed());
            bar.set_message(message);
        }
    }

    /// Metrics, on a line that has the step, and the speed when they are of the training.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let mut line = format!("step {step}/{}", self.total);
        for (name, value) in values {
            line += &format!("  {name} {}", short(*value));
        }
        if matches!(self.out, Out::Lines(_)) && values.iter().any(|(name, _)| *name == "loss") {
            line += &format!("  {}", self.speed(self.begin.elapsed()));
        }
        self.line(&line);
    }

    /// A line of its own. A stderr that is closed is no reason to stop a run.
    pub fn line(&mut self, text: &str) {
        match &mut self.out {
            Out::Bar(bar) => bar.println(text),
            Out::Lines(out) => {
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            }
        }
    }

    /// Ends the bar where it stands.
    pub fn finish(&mut self) {
        if let Out::Bar(bar) = &self.out {
            bar.abandon();
        }
    }

    /// Tokens a second and the time left, after `elapsed` of this process.
    fn speed(&self, elapsed: Duration) -> String {
        let done = self.step.saturating_sub(self.first);
        let rate = self.tokens as f64 / elapsed.as_secs_f64().max(1e-9);
        if done == 0 {
            return format!("{} tokens/s", short(rate.round()));
        }
        let left = elapsed.as_secs_f64() / done as f64 * self.total.saturating_sub(self.step) as f64;
        format!("{} tokens/s  {} left", short(rate.round()), clock(left))
    }
}

fn bar(total: u64, first: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} [{elapsed}] {msg}");
    let bar = ProgressBar::new(total).with_position(first);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Hours, minutes and seconds.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// Four significant digits; whole numbers whole.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size.fract() == 0.0 && size < 1e15 {
        format!("{value:.0}")
    } else if (1e-3..1e4).contains(&size) {
        format!("{value:.*}", (3 - size.log10().floor() as i64).max(0) as usize)
    } else {
        format!("{value:.3e}")
    }
}
