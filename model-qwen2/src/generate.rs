//! Generation: many requests over one KV cache, with continuous batching. A prompt is run once for all of its
//! completions, which share its keys and values; a finished completion leaves at once and a waiting one takes its place. A
//! completion is the same whatever stands beside it.
use std::collections::VecDeque;

use kernel::backend::Decode;
use kernel::real::Real;
use kernel::sample::{Draw, DrawKey, Sampling};
use kernel::transformer::{DecodeError, Decoder, Model, SeqId};

/// One prompt to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's number for it: keys the draws and names the events.
    pub id: u32,
    /// Completions, at least one; they are numbered from 0.
    pub completions: u32,
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Tokens at most.
    pub max_new_tokens: usize,
}

/// Whether completions come with what the model says of their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// No.
    #[default]
    Nothing,
    /// Log-prob and entropy of each token under the policy that training sees: not truncated, divided by the temperature (1
    /// where it is 0). The same bits that training computes, on a backend that promises batch invariance.
    LogProbs,
}

/// Asked after each token with all of the completion's: whether it ends here (a stop string).
pub type StopWhen<'a> = dyn Fn(&[u32]) -> bool + 'a;

/// How completions are drawn and when they end.
#[derive(Clone)]
pub struct Settings<'a> {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Key of the draws.
    pub seed: u64,
    /// Tokens that end a completion; the one that did is its last.
    pub stop: Vec<u32>,
    /// Another reason to end.
    pub stop_when: Option<&'a StopWhen<'a>>,
    /// What is recorded.
    pub record: Record,
    /// Sequences decoded side by side, at most.
    pub batch: usize,
    /// Rows (positions) of the KV cache in all.
    pub cache_rows: usize,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token, or a stop string.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
}

/// A completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The request's number.
    pub id: u32,
    /// Of the completion.
    pub completion: u32,
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// Their log-probs, where [`Record::LogProbs`] asked for them.
    pub logps: Vec<f64>,
    /// Entropies of the predictions that they were drawn from, likewise.
    pub entropies: Vec<f64>,
    /// Why it ended.
    pub finish: Finish,
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new token.
    Token {
        /// The request's number.
        id: u32,
        /// Of the completion.
        completion: u32,
        /// The token.
        token: u32,
    },
    /// A completion has ended.
    Done(Completion),
    /// The request cannot be served (all its completions); the others go on.
    Refused {
        /// The request's number.
        id: u32,
        /// Why, for the user.
        reason: String,
    },
}

/// A prompt whose rows are in the cache.
struct Group {
    request: Request,
    base: SeqId,
    /// Completions that have no rows of their own yet.
    waiting: u32,
    /// Completions that have not ended.
    left: u32,
    reserved: usize,
}

struct Live {
    out: Completion,
    prompt: usize,
    limit: usize,
    /// None while it waits for room.
    seq: Option<SeqId>,
    reserved: usize,
}

/// Requests in flight over one model.
pub struct Generator<'a, B: Decode> {
    decoder: Decoder<B>,
    settings: Settings<'a>,
    queue: VecDeque<Request>,
    groups: Vec<Group>,
    /// Completions with a first token and no rows yet.
    ready: VecDeque<Live>,
    live: Vec<Live>,
    unreserved: usize,
}

/// Prompt tokens that are run in one prefill pass, unless one prompt alone is longer: bounds the activations' memory.
const PREFILL_TOKENS: usize = 1024;

impl<'a, B: Decode> Generator<'a, B> {
    /// A generator with an empty cache. Errors: out of memory.
    pub fn new(b: &B, model: &Model<B>, settings: Settings<'a>) -> Result<Self, B::Error> {
        let decoder = Decoder::new(b, model, settings.cache_rows)?;
        Ok(Self {
            unreserved: decoder.free_rows(),
            decoder,
            settings,
            queue: VecDeque::new(),
            groups: Vec::new(),
            ready: VecDeque::new(),
            live: Vec::new(),
        })
    }

    /// Adds a request to the end of the queue.
    pub fn submit(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    /// Requests that wait and completions that run.
    pub fn pending(&self) -> usize {
        self.queue.len() + self.ready.len() + self.live.len()
    }

    /// Lets waiting requests in, or gives every running completion its next token. Call until [`Generator::pending`] is 0.
    /// Errors: the device's.
    pub fn step(&mut self, b: &B, model: &Model<B>) -> Result<Vec<Event>, B::Error> {
        let mut events = Vec::new();
        self.seat();
        // Completions of prompts that were run come first: a new prompt must not take their room.
        if self.ready.is_empty() {
            self.admit(b, model, &mut events)?;
            self.seat();
        }
        if !self.live.is_empty() && events.is_empty() {
            self.advance(b, model, &mut events)?;
        }
        Ok(events)
    }

    /// Gives waiting completions rows of their own while there are some.
    fn seat(&mut self) {
        while self.live.len() < self.settings.batch {
            let Some(mut next) = self.ready.pop_front() else { return };
            let Some(group) = self.groups.iter_mut().find(|g| g.request.id == next.out.id) else {
                continue;
            };
            // The last one goes on in the prompt's own sequence.
            let last = group.waiting == 1;
            let need = if last {
                Decoder::<B>::rows_for(next.prompt + next.limit) - Decoder::<B>::rows_for(next.prompt)
            } else {
                Decoder::<B>::rows_for_fork(next.prompt, next.limit)
            };
            if need > self.unreserved {
                self.ready.push_front(next);
                return;
            }
            self.unreserved -= need;
            group.waiting -= 1;
            next.reserved = need;
            next.seq = Some(if last {
                group.base
            } else {
                self.decoder.fork(group.base)
            });
            self.live.push(next);
        }
    }

    /// Runs waiting prompts while there is room for them and one whole completion of each, and draws the first token of
    /// all of their completions.
    fn admit(&mut self, b: &B, model: &Model<B>, events: &mut Vec<Event>) -> Result<(), B::Error> {
        let mut entering: Vec<(Request, usize)> = Vec::new();
        let (mut tokens, mut completions, mut rows) = (0, 0, self.unreserved);
        while self.live.len() + completions < self.settings.batch {
            let Some(request) = self.queue.front() else { break };
            // The second of one id is refused when it comes up again, as one that is running already.
            if entering.iter().any(|(entered, _)| entered.id == request.id) {
                break;
            }
            let limit = match self.limit(model, request) {
                Ok(limit) => limit,
                Err(reason) => {
                    events.push(Event::Refused { id: request.id, reason });
                    self.queue.pop_front();
                    continue;
                }
            };
            let need = self.rows_needed(request, limit);
            let too_much = tokens > 0 && tokens + request.prompt.len() > PREFILL_TOKENS;
            if need > rows || too_much {
                break;
            }
            rows -= need;
            tokens += request.prompt.len();
            completions += request.completions as usize;
            if let Some(request) = self.queue.pop_front() {
                entering.push((request, limit));
            }
        }
        if entering.is_empty() {
            return Ok(());
        }
        let prompts: Vec<&[u32]> = entering.iter().map(|(r, _)| r.prompt.as_slice()).collect();
        let bases = unreachable_full(self.decoder.prefill(b, model, &prompts))?;
        let mut first = Vec::new();
        for ((request, limit), base) in entering.into_iter().zip(bases) {
            let reserved = Decoder::<B>::rows_for(request.prompt.len());
            self.unreserved -= reserved;
            first.push(
                (0..request.completions)
                    .map(|i| Live::new(&request, i, limit))
                    .collect(),
            );
            self.groups.push(Group {
                waiting: request.completions,
                left: request.completions,
                request,
                base,
                reserved,
            });
        }
        // All first completions of the prompts, then all second ones: row i of the logits belongs to prompt i.
        for round in rounds(first) {
            let mut round = round;
            self.draw(b, &mut round, events)?;
            for live in round.into_iter().map(|r| r.1) {
                self.keep_or_end(live, events, true);
            }
        }
        Ok(())
    }

    /// Rows for a prompt and one whole completion of it.
    fn rows_needed(&self, request: &Request, limit: usize) -> usize {
        let len = request.prompt.len();
        match request.completions {
            0 | 1 => Decoder::<B>::rows_for(len + limit),
            _ => Decoder::<B>::rows_for(len) + Decoder::<B>::rows_for_fork(len, limit),
        }
    }

    /// Tokens that a completion of the request may have, or why it cannot be served at all.
    fn limit(&self, model: &Model<B>, request: &Request) -> Result<usize, String> {
        let (len, context) = (request.prompt.len(), model.context());
        if len == 0 {
            return Err("the prompt has no tokens".into());
        }
        if let Some(id) = request.prompt.iter().find(|&&id| id as usize >= model.config.vocab) {
            return Err(format!(
                "token id {id} is outside the model's vocabulary of {}",
                model.config.vocab
            ));
        }
        if len >= context {
            return Err(format!("the prompt has {len} tokens, the context holds {context}"));
        }
        let limit = request.max_new_tokens.min(context - len);
        let (need, have) = (self.rows_needed(request, limit), self.settings.cache_rows);
        if need > Decoder::<B>::rows_for(have) {
            return Err(format!(
                "prompt and answer need {need} positions of KV cache, there are {have}"
            ));
        }
        if limit == 0 || request.completions == 0 {
            return Err("no new tokens were asked for".into());
        }
        if self.groups.iter().any(|g| g.request.id == request.id) {
            return Err(format!("request {} is running already", request.id));
        }
        Ok(limit)
    }

    fn advance(&mut self, b: &B, model: &Model<B>, events: &mut Vec<Event>) -> Result<(), B::Error> {
        let seqs: Vec<SeqId> = self.live.iter().filter_map(|l| l.seq).collect();
        let tokens: Vec<u32> = self.live.iter().filter_map(|l| l.out.tokens.last().copied()).collect();
        unreachable_full(self.decoder.step(b, model, &seqs, &tokens))?;
        let mut rows: Vec<(usize, Live)> = std::mem::take(&mut self.live).into_iter().enumerate().collect();
        self.draw(b, &mut rows, events)?;
        for (_, live) in rows {
            self.keep_or_end(live, events, false);
        }
        Ok(())
    }

    /// Draws a token for each of `rows`: completions with their row of the decoder's logits.
    fn draw(&mut self, b: &B, rows: &mut Vec<(usize, Live)>, events: &mut Vec<Event>) -> Result<(), B::Error> {
        let how = &self.settings.sampling;
        let contexts: Vec<Vec<u32>> = rows.iter().map(|(_, live)| self.context(live)).collect();
        let draws: Vec<Draw<'_>> = rows
            .iter()
            .zip(&contexts)
            .map(|((row, live), context)| Draw {
                row: *row,
                context,
                key: DrawKey {
                    seed: self.settings.seed,
                    prompt: live.out.id,
                    completion: live.out.completion,
                    position: (live.prompt + live.out.tokens.len()) as u32,
                },
            })
            .collect();
        let mut drawn = self.decoder.sample(b, &draws, how)?.into_iter();
        let mut targets = vec![0; self.decoder.rows()];
        rows.retain_mut(|(row, live)| {
            let out = &mut live.out;
            match drawn.next().flatten() {
                Some(token) => {
                    targets[*row] = token;
                    out.tokens.push(token);
                    events.push(Event::Token {
                        id: out.id,
                        completion: out.completion,
                        token,
                    });
                    true
                }
                None => {
                    let reason = "the model's logits are not numbers: are its weights sound?".into();
                    events.push(Event::Refused { id: out.id, reason });
                    if let Some(group) = self.groups.iter_mut().find(|g| g.request.id == out.id) {
                        end(&mut self.decoder, &mut self.unreserved, group, live);
                    }
                    false
                }
            }
        });
        if self.settings.record == Record::LogProbs {
            let temperature = if how.temperature > 0.0 { how.temperature } else { 1.0 };
            let scores = self.decoder.logp(b, &targets, temperature)?;
            for (row, live) in rows {
                live.out.logps.push(scores.logp[*row].to_f64());
                live.out.entropies.push(scores.entropy[*row].to_f64());
            }
        }
        self.groups.retain(|g| g.left > 0);
        Ok(())
    }

    /// The tokens so far that the repetition penalty looks at.
    fn context(&self, live: &Live) -> Vec<u32> {
        let group = self.groups.iter().find(|g| g.request.id == live.out.id);
        match group {
            Some(g) if self.settings.sampling.repetition_penalty != 1.0 => {
                g.request.prompt.iter().chain(&live.out.tokens).copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Lets a completion with a new token go on, or end.
    fn keep_or_end(&mut self, mut live: Live, events: &mut Vec<Event>, new: bool) {
        let tokens = &live.out.tokens;
        let stops = tokens.last().is_some_and(|t| self.settings.stop.contains(t))
            || self.settings.stop_when.is_some_and(|stop| stop(tokens));
        live.out.finish = if stops { Finish::Stop } else { Finish::Length };
        if !stops && tokens.len() < live.limit {
            match new {
                true => self.ready.push_back(live),
                false => self.live.push(live),
            }
            return;
        }
        if let Some(at) = self.groups.iter().position(|g| g.request.id == live.out.id) {
            end(&mut self.decoder, &mut self.unreserved, &mut self.groups[at], &live);
            self.groups.retain(|g| g.left > 0);
        }
        events.push(Event::Done(live.out));
    }
}

impl Live {
    fn new(request: &Request, completion: u32, limit: usize) -> Self {
        Self {
            out: Completion {
                id: request.id,
                completion,
                tokens: Vec::new(),
                logps: Vec::new(),
                entropies: Vec::new(),
                finish: Finish::Length,
            },
            prompt: request.prompt.len(),
            limit,
            seq: None,
            reserved: 0,
        }
    }
}

/// Gives back what a completion held, and with the last one what the prompt held.
fn end<B: Decode>(decoder: &mut Decoder<B>, unreserved: &mut usize, group: &mut Group, live: &Live) {
    group.left -= 1;
    *unreserved += live.reserved;
    match live.seq {
        Some(seq) => decoder.release(seq),
        // It never had rows of its own.
        None => {
            group.waiting -= 1;
            if group.waiting == 0 {
                decoder.release(group.base);
            }
        }
    }
    if group.left == 0 {
        *unreserved += group.reserved;
    }
}

/// The i-th completion of every prompt, with the prompt's number, for each i.
fn rounds(groups: Vec<Vec<Live>>) -> Vec<Vec<(usize, Live)>> {
    let mut rounds: Vec<Vec<(usize, Live)>> = Vec::new();
    for (row, group) in groups.into_iter().enumerate() {
        for (i, live) in group.into_iter().enumerate() {
            if rounds.len() == i {
                rounds.push(Vec::new());
            }
            rounds[i].push((row, live));
        }
    }
    rounds
}

/// The cache cannot be full: the rows of every completion were reserved when it entered.
fn unreachable_full<T, E: core::error::Error>(result: Result<T, DecodeError<E>>) -> Result<T, E> {
    match result {
        Ok(x) => Ok(x),
        Err(DecodeError::Backend(e)) => Err(e),
        Err(e @ DecodeError::CacheFull { .. }) => unreachable!("{e}, though rows were reserved"),
    }
}
