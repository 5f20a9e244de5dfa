//! Generation: many requests over one KV cache, with continuous batching. A finished sequence leaves at once and a
//! waiting one takes its place; a completion is the same whatever stands beside it.
use std::collections::VecDeque;

use kernel::backend::Decode;
use kernel::sample::{DrawKey, Sampler, Sampling};
use kernel::transformer::{DecodeError, Decoder, Model, SeqId};

/// One prompt to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's number for it: keys the draws and names the events.
    pub id: u32,
    /// Number of this completion among those of the prompt.
    pub completion: u32,
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Tokens at most.
    pub max_new_tokens: usize,
}

/// How completions are drawn and when they end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Key of the draws.
    pub seed: u64,
    /// Tokens that end a completion; the one that did is its last.
    pub stop: Vec<u32>,
    /// Sequences decoded side by side, at most.
    pub batch: usize,
    /// Rows (positions) of the KV cache in all.
    pub cache_rows: usize,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
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
    /// The completion has ended.
    Done {
        /// The request's number.
        id: u32,
        /// Of the completion.
        completion: u32,
        /// All its tokens.
        tokens: Vec<u32>,
        /// Why.
        finish: Finish,
    },
    /// The request cannot be served; the others go on.
    Refused {
        /// The request's number.
        id: u32,
        /// Why, for the user.
        reason: String,
    },
}

struct Live {
    request: Request,
    seq: SeqId,
    tokens: Vec<u32>,
    limit: usize,
    reserved: usize,
}

/// Requests in flight over one model.
pub struct Generator<B: Decode> {
    decoder: Decoder<B>,
    settings: Settings,
    waiting: VecDeque<Request>,
    live: Vec<Live>,
    unreserved: usize,
    sampler: Sampler,
}

/// Prompt tokens that are run in one prefill pass, unless one prompt alone is longer: bounds the activations' memory.
const PREFILL_TOKENS: usize = 1024;

impl<B: Decode> Generator<B> {
    /// A generator with an empty cache. Errors: out of memory.
    pub fn new(b: &B, model: &Model<B>, settings: Settings) -> Result<Self, B::Error> {
        let decoder = Decoder::new(b, model, settings.cache_rows)?;
        Ok(Self {
            unreserved: decoder.free_rows(),
            decoder,
            settings,
            waiting: VecDeque::new(),
            live: Vec::new(),
            sampler: Sampler::default(),
        })
    }

    /// Adds a request to the end of the queue.
    pub fn submit(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Requests that are waiting or running.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.live.len()
    }

    /// Lets waiting requests in, and gives every running one its next token. Call until [`Generator::pending`] is 0.
    /// Errors: the device's.
    pub fn step(&mut self, b: &B, model: &Model<B>) -> Result<Vec<Event>, B::Error> {
        let mut events = Vec::new();
        self.admit(b, model, &mut events)?;
        if !self.live.is_empty() && events.is_empty() {
            self.advance(b, model, &mut events)?;
        }
        Ok(events)
    }

    /// Prefills waiting requests while there is room for their longest outcome, so that none runs dry half-way.
    fn admit(&mut self, b: &B, model: &Model<B>, events: &mut Vec<Event>) -> Result<(), B::Error> {
        let mut entering = Vec::new();
        let mut tokens = 0;
        while self.live.len() + entering.len() < self.settings.batch {
            let Some(request) = self.waiting.front() else { break };
            let limit = match self.limit(model, request) {
                Ok(limit) => limit,
                Err(reason) => {
                    events.push(Event::Refused { id: request.id, reason });
                    self.waiting.pop_front();
                    continue;
                }
            };
            let reserved = Decoder::<B>::rows_for(request.prompt.len() + limit);
            let too_much = tokens > 0 && tokens + request.prompt.len() > PREFILL_TOKENS;
            if reserved > self.unreserved || too_much {
                break;
            }
            self.unreserved -= reserved;
            tokens += request.prompt.len();
            if let Some(request) = self.waiting.pop_front() {
                entering.push((request, limit, reserved));
            }
        }
        if entering.is_empty() {
            return Ok(());
        }
        let prompts: Vec<&[u32]> = entering.iter().map(|(r, ..)| r.prompt.as_slice()).collect();
        let seqs = unreachable_full(self.decoder.prefill(b, model, &prompts))?;
        let first = self.live.len();
        for ((request, limit, reserved), seq) in entering.into_iter().zip(seqs) {
            self.live.push(Live {
                request,
                seq,
                tokens: Vec::new(),
                limit,
                reserved,
            });
        }
        self.draw(model, first, events);
        Ok(())
    }

    /// Tokens that a request may produce, or why it cannot be served at all.
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
        let (need, have) = (Decoder::<B>::rows_for(len + limit), self.settings.cache_rows);
        if need > Decoder::<B>::rows_for(have) {
            return Err(format!(
                "prompt and answer need {need} positions of KV cache, there are {have}"
            ));
        }
        if limit == 0 {
            return Err("no new tokens were asked for".into());
        }
        Ok(limit)
    }

    fn advance(&mut self, b: &B, model: &Model<B>, events: &mut Vec<Event>) -> Result<(), B::Error> {
        let seqs: Vec<SeqId> = self.live.iter().map(|l| l.seq).collect();
        let tokens: Vec<u32> = self.live.iter().filter_map(|l| l.tokens.last().copied()).collect();
        unreachable_full(self.decoder.step(b, model, &seqs, &tokens))?;
        self.draw(model, 0, events);
        Ok(())
    }

    /// Draws a token for every live sequence from `first` on, from the decoder's logits, and lets the finished go.
    fn draw(&mut self, model: &Model<B>, first: usize, events: &mut Vec<Event>) {
        let vocab = model.config.vocab;
        let mut ended = Vec::new();
        for (i, live) in self.live.iter_mut().enumerate().skip(first) {
            let logits = &self.decoder.logits()[(i - first) * vocab..][..vocab];
            let (id, completion) = (live.request.id, live.request.completion);
            let key = DrawKey {
                seed: self.settings.seed,
                prompt: id,
                completion,
                position: (live.request.prompt.len() + live.tokens.len()) as u32,
            };
            let how = &self.settings.sampling;
            let seen: Vec<u32> = if how.repetition_penalty == 1.0 {
                Vec::new()
            } else {
                live.request.prompt.iter().chain(&live.tokens).copied().collect()
            };
            let Some(token) = self.sampler.draw(logits, &seen, how, key) else {
                let reason = "the model's logits are not numbers: are its weights sound?".into();
                events.push(Event::Refused { id, reason });
                ended.push(i);
                continue;
            };
            live.tokens.push(token);
            events.push(Event::Token { id, completion, token });
            let finish = if self.settings.stop.contains(&token) {
                Finish::Stop
            } else if live.tokens.len() == live.limit {
                Finish::Length
            } else {
                continue;
            };
            let tokens = std::mem::take(&mut live.tokens);
            events.push(Event::Done {
                id,
                completion,
                tokens,
                finish,
            });
            ended.push(i);
        }
        for i in ended.into_iter().rev() {
            // Order is kept: the next step's rows are the live sequences in the order of their entry.
            let live = self.live.remove(i);
            self.decoder.release(live.seq);
            self.unreserved += live.reserved;
        }
    }
}

/// The cache cannot be full: every live sequence's longest outcome was reserved when it entered.
fn unreachable_full<T, E: core::error::Error>(result: Result<T, DecodeError<E>>) -> Result<T, E> {
    match result {
        Ok(x) => Ok(x),
        Err(DecodeError::Backend(e)) => Err(e),
        Err(e @ DecodeError::CacheFull { .. }) => unreachable!("{e}, though rows were reserved"),
    }
}
