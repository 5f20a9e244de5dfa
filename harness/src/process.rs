//! A process of the user's that is asked a line and answers a line.
//!
//! It is started at the first question and lives as long as it is needed. When it crashes, is silent for too long or answers
//! anything else than it should, it is started again and the same is asked again, a bounded number of times.
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A process that speaks lines.
pub(crate) struct Lines {
    words: Vec<String>,
    timeout: Duration,
    retries: u32,
    running: Option<Running>,
    notes: Vec<String>,
}

impl Lines {
    /// A program and its arguments, at least one word; the time that an answer may take; how often a question is asked again.
    pub fn new(words: Vec<String>, timeout: Duration, retries: u32) -> Self {
        Self {
            words,
            timeout,
            retries,
            running: None,
            notes: Vec::new(),
        }
    }

    /// What `read` makes of the answer to `question`, one line. Errors: the last attempt's, with the end of what the process
    /// wrote to standard error; `who` asks.
    pub fn ask<T>(&mut self, who: &str, question: &str, read: impl Fn(&str) -> Result<T, Fault>) -> Result<T> {
        let mut attempt = 0;
        loop {
            let fault = match self.answer(question).and_then(|answer| read(&answer)) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let stderr = self.running.take().map_or(String::new(), Running::stop);
            let mut said = format!(
                "{who}: command {:?}: expected {}, found {}",
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

    /// What the user should know of faults that were mended, once.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn answer(&mut self, question: &str) -> Result<String, Fault> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.words)?),
        };
        running.ask(question, self.timeout)
    }
}

/// What went wrong with one attempt.
pub(crate) struct Fault {
    /// What should have been.
    pub expected: String,
    /// What was.
    pub found: String,
}

impl Fault {
    /// Both halves.
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
        }
    }
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
                let found = format!("a line that was not asked for: {:?}", crate::reward::first(&line, 200));
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
