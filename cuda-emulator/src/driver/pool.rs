//! Memory pools. They keep nothing back: what is freed is the device's again.

use super::abi::{Context, In, Out, Pool, PoolProperties, Stream, Untyped};
use super::device;
use super::exports::exports;
use super::memory::Kind;
use super::report;
use super::state::{DONE, Driver, anywhere, here};
use super::status::Status;

/// One pool.
pub struct PoolState {
    /// Where it was made; none for the device's own.
    pub context: Option<Context>,
    /// Reuse by events, by chance, by new dependencies: 1 or 0 each.
    reuse: [i32; 3],
    /// Bytes to keep when idle.
    threshold: u64,
}

impl PoolState {
    /// A pool with the attributes that every pool begins with.
    pub fn new(context: Option<Context>) -> PoolState {
        PoolState {
            context,
            reuse: [1; 3],
            threshold: 0,
        }
    }
}

/// `CU_MEMPOOL_ATTR_`: release threshold, reserved and used bytes.
const THRESHOLD: i32 = 4;
const RESERVED: i32 = 5;
const USED_HIGH: i32 = 8;

impl Driver {
    fn pool(&mut self, pool: Pool) -> Result<&mut PoolState, Status> {
        self.pools.get_mut(&pool).ok_or(Status::INVALID_VALUE)
    }

    fn pool_bytes(&self, pool: Pool) -> u64 {
        let live = self
            .allocations
            .values()
            .filter(|a| a.kind == Kind::Ordered(pool) && !a.is_freed);
        live.map(|a| a.bytes).sum()
    }

    fn pool_attribute(&mut self, pool: Pool, attribute: i32, value: Untyped<'_>) -> Result<(), Status> {
        let used = self.pool_bytes(pool);
        let state = self.pool(pool)?;
        match attribute {
            1..=3 => value.set(state.reuse[attribute as usize - 1]),
            THRESHOLD => value.set(state.threshold),
            RESERVED..=USED_HIGH => value.set(used),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn set_pool_attribute(&mut self, pool: Pool, attribute: i32, value: Untyped<'_>) -> Result<(), Status> {
        let state = self.pool(pool)?;
        match attribute {
            1..=3 => state.reuse[attribute as usize - 1] = value.get()?,
            THRESHOLD => state.threshold = value.get()?,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(())
    }
}

exports! {
    /// Device memory from a pool, that may be used by work that comes after this in the stream's order.
    fn cuMemAllocFromPoolAsync(address: Out<'_, u64>, bytes: usize, pool: Pool, stream: Stream) {
        here(|d, context| {
            d.pool(pool)?;
            let stream = d.stream(context, stream)?;
            let new = d.allocate_ordered(stream, bytes, pool)?;
            address.set(new)?;
            DONE
        })
    }

    /// The pool that a device begins with.
    fn cuDeviceGetDefaultMemPool(pool: Out<'_, Pool>, ordinal: i32) {
        anywhere(|d| {
            device::check(ordinal)?;
            pool.set(d.default_pool)?;
            DONE
        })
    }

    /// The pool that cuMemAllocAsync takes from.
    fn cuDeviceGetMemPool(pool: Out<'_, Pool>, ordinal: i32) {
        anywhere(|d| {
            device::check(ordinal)?;
            pool.set(d.current_pool)?;
            DONE
        })
    }

    /// Sets it.
    fn cuDeviceSetMemPool(ordinal: i32, pool: Pool) {
        anywhere(|d| {
            device::check(ordinal)?;
            d.pool(pool)?;
            d.current_pool = pool;
            DONE
        })
    }

    /// A pool.
    fn cuMemPoolCreate(pool: Out<'_, Pool>, properties: In<'_, PoolProperties>) {
        here(|d, context| {
            let p = properties.get()?;
            if p.allocation != 1 || p.location.kind != 1 || p.location.id != 0 {
                return Err(Status::INVALID_VALUE);
            }
            if p.handles != 0 {
                report::unsupported("memory pools that are exported to other processes");
                return Err(Status::NOT_SUPPORTED);
            }
            let new = Pool::number(d.number());
            d.pools.insert(new, PoolState::new(Some(context)));
            pool.set(new)?;
            DONE
        })
    }

    /// Ends a pool; memory from it stays.
    fn cuMemPoolDestroy(pool: Pool) {
        here(|d, _| {
            if pool == d.default_pool {
                return Err(Status::INVALID_VALUE);
            }
            d.pools.remove(&pool).ok_or(Status::INVALID_VALUE)?;
            if d.current_pool == pool {
                d.current_pool = d.default_pool;
            }
            DONE
        })
    }

    /// Gives unused memory of a pool back to the device. There is never any.
    fn cuMemPoolTrimTo(pool: Pool, _keep: usize) {
        here(|d, _| {
            d.pool(pool)?;
            DONE
        })
    }

    /// An attribute of a pool.
    fn cuMemPoolGetAttribute(pool: Pool, attribute: i32, value: Untyped<'_>) {
        here(|d, _| {
            d.pool_attribute(pool, attribute, value)?;
            DONE
        })
    }

    /// Sets one.
    fn cuMemPoolSetAttribute(pool: Pool, attribute: i32, value: Untyped<'_>) {
        here(|d, _| {
            d.set_pool_attribute(pool, attribute, value)?;
            DONE
        })
    }
}
