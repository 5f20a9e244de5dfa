//! What the driver knows of an address.

use super::abi::{Context, Untyped, Words};
use super::exports::exports;
use super::host::State;
use super::memory::Kind;
use super::state::{DONE, Driver, anywhere};
use super::status::Status;

/// `CU_MEMORYTYPE_`.
const HOST: i32 = 1;
const DEVICE: i32 = 2;

/// An allocation of any kind.
struct Found {
    start: u64,
    bytes: u64,
    context: Context,
    is_host: bool,
    kind: Option<Kind>,
}

impl Driver {
    fn lookup(&self, address: u64) -> Result<Found, Status> {
        if let Some((start, a)) = self.allocations.range(..=address).next_back()
            && address < start + a.bytes
            && !a.is_freed
        {
            let is_host = false;
            return Ok(Found {
                start: *start,
                bytes: a.bytes,
                context: a.context,
                is_host,
                kind: Some(a.kind),
            });
        }
        match self.host.find(address as usize) {
            Some((start, b)) if b.state != State::Freed => Ok(Found {
                start: start as u64,
                bytes: b.bytes as u64,
                context: b.context,
                is_host: true,
                kind: None,
            }),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn pointer_attribute(&self, attribute: i32, address: u64, value: Untyped<'_>) -> Result<(), Status> {
        let found = self.lookup(address)?;
        let is_managed = found.kind == Some(Kind::Managed);
        match attribute {
            1 => value.set(found.context),
            2 => value.set(if found.is_host { HOST } else { DEVICE }),
            3 => value.set(address),
            4 if found.is_host || is_managed => value.set(address),
            // A number of its own, managed, ordinal, begin, bytes, whether it is mapped.
            7 => value.set(found.start),
            8 => value.set(is_managed),
            9 => value.set(0i32),
            11 => value.set(found.start),
            12 => value.set(found.bytes as usize),
            13 => value.set(true),
            17 => match found.kind {
                Some(Kind::Ordered(pool)) => value.set(pool),
                _ => value.set(0usize),
            },
            _ => Err(Status::INVALID_VALUE),
        }
    }
}

exports! {
    /// One attribute.
    fn cuPointerGetAttribute(value: Untyped<'_>, attribute: i32, address: u64) {
        anywhere(|d| {
            d.pointer_attribute(attribute, address, value)?;
            DONE
        })
    }

    /// Several attributes; one that an address has not stays as it was.
    fn cuPointerGetAttributes(count: u32, attributes: Words<'_, i32>, values: Words<'_, usize>, address: u64) {
        anywhere(|d| {
            for (attribute, value) in attributes.get(count).iter().zip(values.get(count)) {
                let _ = d.pointer_attribute(*attribute, address, Untyped::word(*value));
            }
            DONE
        })
    }
}
