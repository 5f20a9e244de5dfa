//! `command`: a process of the user's that speaks JSON lines on standard input and output.
//!
//! One line goes in for a batch, one line comes out, the rewards in the order of the samples:
//!
//! ```text
//! {"samples": [{"prompt": "…", "messages": [...] or null, "completion": "…", "completion_ids": [...],
//!               "finished": "stop" or "length", "columns": {...}}, ...]}
//! [1.0, null, 0.5]
//! ```
//!
//! It is started at the first batch and lives as long as the run. When it crashes, is silent for too long or answers anything
//! else, it is started again and the same batch is asked again, a bounded number of times; then it is an error.
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use model_qwen2::generate::Finish;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::BadKey;
use super::rewards::first;
use super::{Reward, Sample};

#[cfg(test)]
mod tests;

/// The keys of `command`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and its arguments: a list, or one text that is split at white space. No shell.
    pub command: Words,
    /// Seconds that a batch may take. Default 60.
    #[serde(default = "sixty")]
    pub timeout: f64,
    /// How many times a batch is asked again. Default 1.
    #[serde(default = "once")]
    pub retries: u32,
}

fn sixty() -> f64 {
    60.0
}

fn once() -> u32 {
    1
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub enum Words {
    /// With white space between.
    Line(String),
    /// Word by word.
    List(Vec<String>),
}

impl Words {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::List(words) => words.clone(),
        }
    }
}

impl Process {
    pub(super) fn open(&self, key: &str, name: String) -> Result<Asked, BadKey> {
        let words = self.command.words();
        if words.first().is_none_or(String::is_empty) {
            return Err(BadKey::new(format!("{key}.command"), "a program", "nothing"));
        }
        if !(self.timeout > 0.0 && self.timeout <= 86_400.0) {
            let key = format!("{key}.timeout");
            let expected = "a number of seconds above 0, at most a day";
            return Err(BadKey::new(key, expected, self.timeout.to_string()));
        }
        Ok(Asked {
            name,
            words,
            timeout: Duration::from_secs_f64(self.timeout),
            retries: self.retries,
            running: None,
            notes: Vec::new(),
        })
    }
}

/// The reward that asks the process.
pub(super) struct Asked {
    name: String,
    words: Vec<String>,
    timeout: Duration,
    retries: u32,
    running: Option<Running>,
    notes: Vec<String>,
}

/// A batch as the process reads it.
#[derive(Serialize)]
struct Question<'a> {
    samples: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    prompt: &'a str,
    messages: Option<&'a [Value]>,
    completion: &'a str,
    completion_ids: &'a [u32],
    finished: &'static str,
    columns: &'a Map<String, Value>,
}

impl<'a> From<&Sample<'a>> for Line<'a> {
    fn from(s: &Sample<'a>) -> Self {
        Self {
            prompt: s.prompt,
            messages: s.messages,
            completion: s.completion,
            completion_ids: s.completion_ids,
            finished: match s.finished {
                Finish::Stop => "stop",
                Finish::Length => "length",
            },
            columns: s.columns,
        }
    }
}

impl Reward for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&mut self, samples: &[Sample<'_>]) -> Result<Vec<Option<f64>>> {
        let question = Question {
            samples: samples.iter().map(Line::from).collect(),
        };
        let question = serde_json::to_string(&question)? + "\n";
        let mut attempt = 0;
        loop {
            let fault = match self.ask(&question, samples.len()) {
                Ok(numbers) => return Ok(numbers),
                Err(fault) => fault,
            };
            let stderr = self.running.take().map_or(String::new(), Running::stop);
            let mut said = format!(
                "reward {}: command {:?}: expected {}, found {}",
                self.name,
                self.words.join(" "),
                fault.expected,
                fault.found
            );
            if !stderr.trim().is_empty() {
                said = format!("{said}\nits standard error ends:\n{}", stderr.trim_end());
            }
            if attempt == self.retries {
                bail!("{said}");
            }
            self.notes
                .push(format!("{said}\nit is started again and asked the same"));
            attempt += 1;
        }
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

/// What went wrong with one attempt.
struct Fault {
    expected: String,
    found: String,
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl Asked {
    fn ask(&mut self, question: &str, samples: usize) -> Result<Vec<Option<f64>>, Fault> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.words)?),
        };
        let answer = running.ask(question, self.timeout)?;
        read(&answer, samples)
    }
}

/// The numbers of an answer.
fn read(answer: &str, samples: usize) -> Result<Vec<Option<f64>>, Fault> {
    let expected = || format!("one line, a JSON list of {samples} numbers or null");
    let line = || first(answer, 200);
    let values: Vec<Value> =
        serde_json::from_str(answer).map_err(|_| Fault::new(expected(), format!("the line {:?}", line())))?;
    if values.len() != samples {
        return Err(Fault::new(expected(), format!("{} of them: {}", values.len(), line())));
    }
    let number = |(i, value): (usize, &Value)| match value {
        Value::Null => Ok(None),
        Value::Number(n) => n.as_f64().filter(|x| x.is_finite()).map(Some).ok_or(i),
        _ => Err(i),
    };
    let numbers: Result<Vec<_>, usize> = values.iter().enumerate().map(number).collect();
    numbers.map_err(|i| {
        Fault::new(
            expected(),
            format!("{} for sample {i}", first(&values[i].to_string(), 200)),
        )
    })
}

/// Bytes of standard error that are kept for messages.
const TAIL: usize = 2000;

/// Bytes of an answer, at most: a process that writes without end is not waited for.
const LONGEST: u64 = 64 << 20;

/// The process and the threads at its pipes.
struct Running {
    child: Child,
    questions: SyncSender<String>,
    answers: Receiver<std::io::Result<String>>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    errors: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(words: &[String]) -> Result<Self, Fault> {
        let broken = |e: std::io::Error| Fault::new("a program that starts", e.to_string());
        let (program, arguments) = words.split_first().ok_or_else(|| Fault::new("a program", "nothing"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: the terminal's interrupt is for the trainer, which still needs its rewards to save a whole step.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(broken)?;
        let (Some(mut stdin), Some(stdout), Some(mut from)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Fault::new("three pipes to the process", "fewer"));
        };
        // The pipes have a thread each, so that a process that does not read, or writes too much, is found by the clock.
        let (questions, lines) = sync_channel::<String>(1);
        thread::spawn(move || {
            for line in lines {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        let (sender, answers) = sync_channel(4);
        thread::spawn(move || {
            let mut from = BufReader::new(stdout);
            while let Some(line) = read_line(&mut from) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let tail = Arc::clone(&stderr);
        let errors = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend(&bytes[..n]);
                let over = tail.len().saturating_sub(TAIL);
                tail.drain(..over);
            }
        });
        Ok(Self {
            child,
            questions,
            answers,
            stderr,
            errors: Some(errors),
        })
    }

    /// The line that the process answers.
    fn ask(&mut self, question: &str, timeout: Duration) -> Result<String, Fault> {
        let begin = Instant::now();
        match self.answers.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Ok(line)) => {
                let found = format!("a line that was not asked for: {:?}", first(&line, 200));
                return Err(Fault::new("one line for a batch", found));
            }
            Ok(Err(error)) => return Err(Fault::new("an answer", error.to_string())),
            Err(TryRecvError::Disconnected) => return Err(self.ended("between two batches")),
        }
        // One batch is under way at a time, so there is always room; a writer that has gone is found by its silence.
        let _ = self.questions.try_send(question.to_owned());
        match self.answers.recv_timeout(timeout.saturating_sub(begin.elapsed())) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(Fault::new("a line", error.to_string())),
            Err(RecvTimeoutError::Timeout) => Err(Fault::new(
                format!("an answer within {} seconds (key timeout)", timeout.as_secs_f64()),
                "none (a program that writes to a pipe must flush each line)",
            )),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended("before it answered")),
        }
    }

    /// The process has closed its output.
    fn ended(&mut self, when: &str) -> Fault {
        // It has usually ended, or is about to.
        let mut status = None;
        for _ in 0..50 {
            status = self.child.try_wait().ok().flatten();
            if status.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let how = status.map_or("its output closed".to_owned(), |status| status.to_string());
        Fault::new("a process that goes on", format!("that it ended {when}: {how}"))
    }

    /// Ends the process; the tail of its standard error.
    fn stop(mut self) -> String {
        self.kill();
        // What it wrote is all there once its end of the pipe is closed; a child of its own may hold that open.
        let errors = self.errors.take();
        for _ in 0..50 {
            if errors.as_ref().is_none_or(thread::JoinHandle::is_finished) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let mut tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }

    fn kill(&mut self) {
        // Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The next line, without what ends it; `None` at the end.
fn read_line(from: &mut impl BufRead) -> Option<std::io::Result<String>> {
    let mut bytes = Vec::new();
    match from.take(LONGEST).read_until(b'\n', &mut bytes) {
        Ok(0) => None,
        Ok(_) => Some(Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
        Err(error) => Some(Err(error)),
    }
}
