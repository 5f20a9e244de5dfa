//! Contexts: the primary one, others, and which is current in a thread.

use super::abi::{Context, ContextParameters, In, Out, Stream};
use super::exports::exports;
use super::report;
use super::state::{Answer, DONE, Driver, Rest, anywhere, here};
use super::status::Status;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::thread::ThreadId;

/// One context.
pub struct ContextState {
    /// `CU_CTX_` flags.
    pub flags: u32,
    /// What it died of: every later call in it fails with this.
    pub error: Option<Status>,
    /// Its legacy default stream.
    pub legacy: Stream,
    /// Its default streams of threads.
    pub per_thread: HashMap<ThreadId, Stream>,
    limits: BTreeMap<i32, usize>,
    cache: i32,
}

thread_local! {
    static CURRENT: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
}

/// The thread's current context.
pub fn current() -> Option<Context> {
    CURRENT.with_borrow(|stack| stack.last().copied().filter(|c| *c != Context::NULL))
}

/// Stack size, printf buffer, malloc heap, device runtime depth and launches, L2 granularity: the defaults of an A100.
const LIMITS: [(i32, usize); 7] = [
    (0, 1024),
    (1, 1 << 20),
    (2, 8 << 20),
    (3, 2),
    (4, 2048),
    (5, 64),
    (6, 0),
];

/// `CU_CTX_` flags that exist.
const FLAGS: u32 = 0x1ff;

fn device(ordinal: i32) -> Result<(), Status> {
    if ordinal == 0 {
        Ok(())
    } else {
        Err(Status::INVALID_DEVICE)
    }
}

impl Driver {
    fn new_context(&mut self, flags: u32) -> Context {
        let context = Context::number(self.number());
        let legacy = self.new_stream(context, 0, 0);
        let state = ContextState {
            flags,
            error: None,
            legacy,
            per_thread: HashMap::new(),
            limits: LIMITS.into(),
            cache: 0,
        };
        self.contexts.insert(context, state);
        context
    }

    fn retain_primary(&mut self) -> Context {
        let (context, count) = match self.primary {
            Some((context, count)) => (context, count),
            None => (self.new_context(self.primary_flags), 0),
        };
        self.primary = Some((context, count + 1));
        context
    }

    /// Ends a context: what was issued runs, what it owned is reported and freed.
    fn destroy_context(&mut self, context: Context) -> Answer {
        let ops = self
            .queue
            .iter()
            .filter(|(_, op)| op.context == context)
            .map(|(id, _)| id)
            .collect();
        CURRENT.with_borrow_mut(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        let finish = move |d: &mut Driver| {
            d.report_leaks(Some(context));
            d.release_all(context);
            d.contexts.remove(&context);
            Ok(())
        };
        Ok(Rest::Then(ops, Box::new(finish)))
    }

    fn context_mut(&mut self, context: Context) -> Result<&mut ContextState, Status> {
        self.contexts.get_mut(&context).ok_or(Status::INVALID_CONTEXT)
    }
}

exports! {
    /// Makes the device's primary context, or counts one more user of it.
    fn cuDevicePrimaryCtxRetain(context: Out<'_, Context>, ordinal: i32) {
        anywhere(|d| {
            device(ordinal)?;
            let primary = d.retain_primary();
            context.set(primary)?;
            DONE
        })
    }

    /// Counts one user of the primary context less; the last one ends it.
    fn cuDevicePrimaryCtxRelease_v2(ordinal: i32) {
        anywhere(|d| {
            device(ordinal)?;
            match d.primary {
                None => Err(Status::INVALID_CONTEXT),
                Some((context, 1)) => {
                    d.primary = None;
                    d.destroy_context(context)
                }
                Some((context, count)) => {
                    d.primary = Some((context, count - 1));
                    DONE
                }
            }
        })
    }

    /// Ends the primary context, whoever uses it.
    fn cuDevicePrimaryCtxReset_v2(ordinal: i32) {
        anywhere(|d| {
            device(ordinal)?;
            match d.primary.take() {
                None => DONE,
                Some((context, _)) => d.destroy_context(context),
            }
        })
    }

    /// Flags of the primary context and whether it is there.
    fn cuDevicePrimaryCtxGetState(ordinal: i32, flags: Out<'_, u32>, active: Out<'_, i32>) {
        anywhere(|d| {
            device(ordinal)?;
            flags.set(d.primary_flags)?;
            active.set(d.primary.is_some() as i32)?;
            DONE
        })
    }

    /// Flags that the primary context has or gets.
    fn cuDevicePrimaryCtxSetFlags_v2(ordinal: i32, flags: u32) {
        anywhere(|d| {
            device(ordinal)?;
            if flags & !FLAGS != 0 {
                return Err(Status::INVALID_VALUE);
            }
            d.primary_flags = flags;
            DONE
        })
    }

    /// A context beside the primary one; it becomes current.
    fn cuCtxCreate_v4(context: Out<'_, Context>, parameters: In<'_, ContextParameters>, flags: u32, ordinal: i32) {
        if let Ok(p) = parameters.get()
            && (p.affinity != 0 || p.graphics != 0)
        {
            report::unsupported("cuCtxCreate_v4 with execution affinity or graphics interoperation");
            return Status::NOT_SUPPORTED;
        }
        create(context, flags, ordinal)
    }

    /// The same with the parameters of CUDA 11.4.
    fn cuCtxCreate_v3(context: Out<'_, Context>, affinity: usize, count: i32, flags: u32, ordinal: i32) {
        if affinity != 0 || count != 0 {
            report::unsupported("cuCtxCreate_v3 with execution affinity");
            return Status::UNSUPPORTED_EXEC_AFFINITY;
        }
        create(context, flags, ordinal)
    }

    /// The same without parameters.
    fn cuCtxCreate_v2(context: Out<'_, Context>, flags: u32, ordinal: i32) {
        create(context, flags, ordinal)
    }

    /// Ends a context that cuCtxCreate made.
    fn cuCtxDestroy_v2(context: Context) {
        anywhere(|d| {
            if !d.contexts.contains_key(&context) || d.primary.is_some_and(|(primary, _)| primary == context) {
                return Err(Status::INVALID_CONTEXT);
            }
            d.destroy_context(context)
        })
    }

    /// The thread's current context, or null.
    fn cuCtxGetCurrent(context: Out<'_, Context>) {
        anywhere(|_| {
            context.set(current().unwrap_or(Context::NULL))?;
            DONE
        })
    }

    /// Makes a context, or none, current in this thread.
    fn cuCtxSetCurrent(context: Context) {
        anywhere(|d| {
            if context != Context::NULL && !d.contexts.contains_key(&context) {
                return Err(Status::INVALID_CONTEXT);
            }
            CURRENT.with_borrow_mut(|stack| {
                stack.pop();
                if context != Context::NULL {
                    stack.push(context);
                }
            });
            DONE
        })
    }

    /// Makes a context current until it is popped.
    fn cuCtxPushCurrent_v2(context: Context) {
        anywhere(|d| {
            if !d.contexts.contains_key(&context) {
                return Err(Status::INVALID_CONTEXT);
            }
            CURRENT.with_borrow_mut(|stack| stack.push(context));
            DONE
        })
    }

    /// Makes the context current that was so before the last push.
    fn cuCtxPopCurrent_v2(context: Out<'_, Context>) {
        anywhere(|_| {
            let popped = CURRENT.with_borrow_mut(Vec::pop).ok_or(Status::INVALID_CONTEXT)?;
            context.set_if_wanted(popped);
            DONE
        })
    }

    /// The device of the current context.
    fn cuCtxGetDevice(ordinal: Out<'_, i32>) {
        here(|_, _| {
            ordinal.set(0)?;
            DONE
        })
    }

    /// A number that no other context has had.
    fn cuCtxGetId(context: Context, id: Out<'_, u64>) {
        anywhere(|d| {
            let context = if context == Context::NULL { current().unwrap_or(context) } else { context };
            d.context_mut(context)?;
            id.set(context.0 as u64)?;
            DONE
        })
    }

    /// The version of the interface, as cuda.h counts.
    fn cuCtxGetApiVersion(context: Context, version: Out<'_, u32>) {
        anywhere(|d| {
            if context != Context::NULL {
                d.context_mut(context)?;
            }
            version.set(3020)?;
            DONE
        })
    }

    /// Waits for all work of the context.
    fn cuCtxSynchronize() {
        here(|d, context| {
            d.forbid_in_capture(context)?;
            let ops = d.queue.iter().filter(|(_, op)| op.context == context).map(|(id, _)| id).collect();
            let ended = d.streams.values().filter(|s| s.context == context).map(|s| s.ended).max();
            Ok(Rest::Wait(ops, ended.unwrap_or(0)))
        })
    }

    /// `CU_CTX_` flags.
    fn cuCtxGetFlags(flags: Out<'_, u32>) {
        here(|d, context| {
            flags.set(d.context_mut(context)?.flags)?;
            DONE
        })
    }

    /// Changes them.
    fn cuCtxSetFlags(flags: u32) {
        here(|d, context| {
            if flags & !FLAGS != 0 {
                return Err(Status::INVALID_VALUE);
            }
            d.context_mut(context)?.flags = flags;
            DONE
        })
    }

    /// A limit of the device runtime.
    fn cuCtxGetLimit(value: Out<'_, usize>, limit: i32) {
        here(|d, context| {
            let found = d.context_mut(context)?.limits.get(&limit).copied();
            value.set(found.ok_or(Status::UNSUPPORTED_LIMIT)?)?;
            DONE
        })
    }

    /// Sets one; kernels do not see it.
    fn cuCtxSetLimit(limit: i32, value: usize) {
        here(|d, context| {
            let found = d.context_mut(context)?.limits.get_mut(&limit);
            *found.ok_or(Status::UNSUPPORTED_LIMIT)? = value;
            DONE
        })
    }

    /// The preferred split between cache and shared memory.
    fn cuCtxGetCacheConfig(config: Out<'_, i32>) {
        here(|d, context| {
            config.set(d.context_mut(context)?.cache)?;
            DONE
        })
    }

    /// Sets it; on these devices it changes nothing.
    fn cuCtxSetCacheConfig(config: i32) {
        here(|d, context| {
            if !(0..=3).contains(&config) {
                return Err(Status::INVALID_VALUE);
            }
            d.context_mut(context)?.cache = config;
            DONE
        })
    }

    /// The lowest and the highest priority of streams.
    fn cuCtxGetStreamPriorityRange(least: Out<'_, i32>, greatest: Out<'_, i32>) {
        here(|_, _| {
            least.set_if_wanted(super::stream::PRIORITIES.0);
            greatest.set_if_wanted(super::stream::PRIORITIES.1);
            DONE
        })
    }

    /// There is no second device to reach.
    fn cuCtxEnablePeerAccess(peer: Context, flags: u32) {
        here(|d, _| {
            d.context_mut(peer)?;
            Err(if flags != 0 { Status::INVALID_VALUE } else { Status::PEER_ACCESS_UNSUPPORTED })
        })
    }

    /// There was none.
    fn cuCtxDisablePeerAccess(peer: Context) {
        here(|d, _| {
            d.context_mut(peer)?;
            Err(Status::PEER_ACCESS_NOT_ENABLED)
        })
    }
}

fn create(context: Out<'_, Context>, flags: u32, ordinal: i32) -> Status {
    anywhere(|d| {
        device(ordinal)?;
        if flags & !FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let new = d.new_context(flags);
        context.set(new)?;
        CURRENT.with_borrow_mut(|stack| stack.push(new));
        DONE
    })
}
