//! Copies and memsets.

use super::abi::{Context, Copy2d, Host, In, Plane, Stream};
use super::exports::exports;
use super::host;
use super::report;
use super::state::{Answer, DONE, Driver, Rest, here};
use super::status::Status;
use super::work::{Rows, Source, Target, Work};
use std::sync::Arc;

/// Whether a call returns before the work is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    /// As soon as CUDA allows: copies to pageable memory are done before it returns all the same.
    Early,
    /// When the work is done.
    Done,
}

/// One side of a copy.
#[derive(Clone, Copy)]
enum Side {
    Host(Rows),
    Device(Rows),
}

impl Side {
    fn rows(self) -> Rows {
        match self {
            Side::Host(rows) | Side::Device(rows) => rows,
        }
    }
}

impl Driver {
    /// Whether host memory is known to the driver, so that a copy reads or writes it late.
    fn is_pinned(&self, address: u64) -> bool {
        self.host.find(address as usize).is_some() || self.managed(address).is_ok()
    }

    /// What side of a copy an address is on where the call does not say.
    fn side(&self, address: u64, bytes: u64) -> Side {
        let rows = Rows::line(address, bytes);
        let found = self.allocations.range(..=address).next_back();
        let is_device = found.is_some_and(|(start, a)| address < start + a.bytes) || self.module_range(address, bytes);
        if is_device {
            Side::Device(rows)
        } else {
            Side::Host(rows)
        }
    }

    /// Issues a copy.
    fn copy_rows(
        &mut self,
        context: Context,
        stream: Stream,
        from: Side,
        to: Side,
        back: Return,
        name: &str,
    ) -> Answer {
        let stream = self.stream(context, stream)?;
        if back == Return::Done {
            self.forbid_in_capture(context)?;
        }
        for side in [from, to] {
            match side {
                Side::Device(rows) => self.device_range(rows.address, rows.extent(), name)?,
                Side::Host(rows) if rows.address == 0 && rows.bytes() > 0 => return Err(Status::INVALID_VALUE),
                Side::Host(_) => {}
            }
        }
        if from.rows().bytes() == 0 {
            return DONE;
        }
        // In a graph the memory is read by each launch.
        let is_captured = self.captured_frontier(stream)?.is_some();
        let source = match from {
            Side::Device(rows) => Source::Device(rows),
            Side::Host(rows) if is_captured || self.is_pinned(rows.address) => Source::Host(rows),
            Side::Host(rows) => Source::Snapshot(Arc::new(snapshot(rows))),
        };
        let (target, is_pageable) = match to {
            Side::Device(rows) => (Target::Device(rows), false),
            Side::Host(rows) => (Target::Host(rows), !self.is_pinned(rows.address)),
        };
        let op = self.submit(stream, Work::Copy(source, target))?;
        match op {
            Some(op) if back == Return::Done || is_pageable => Ok(Rest::Wait(vec![op], 0)),
            _ => DONE,
        }
    }

    /// Issues a memset.
    fn fill_rows(&mut self, context: Context, stream: Stream, rows: Rows, value: u32, width: u8, name: &str) -> Answer {
        let stream = self.stream(context, stream)?;
        if !(rows.address | rows.pitch).is_multiple_of(u64::from(width)) {
            return Err(Status::INVALID_VALUE);
        }
        self.device_range(rows.address, rows.extent(), name)?;
        if rows.bytes() > 0 {
            self.submit(stream, Work::Fill(rows, value, width))?;
        }
        DONE
    }
}

fn snapshot(rows: Rows) -> Vec<u8> {
    let mut bytes = vec![0; rows.bytes() as usize];
    for (start, row) in rows.starts().zip(bytes.chunks_mut(rows.width as usize)) {
        host::read(start as usize, row);
    }
    bytes
}

fn on_host(address: Host, bytes: usize) -> Side {
    Side::Host(Rows::line(address.0 as u64, bytes as u64))
}

fn on_device(address: u64, bytes: usize) -> Side {
    Side::Device(Rows::line(address, bytes as u64))
}

fn plane(driver: &Driver, p: &Plane, width: usize, height: usize) -> Result<Side, Status> {
    let pitch = if p.pitch == 0 { width } else { p.pitch };
    if pitch < width {
        return Err(Status::INVALID_VALUE);
    }
    let skip = (p.y * pitch + p.x) as u64;
    let rows = |address: u64| Rows {
        address: address + skip,
        pitch: pitch as u64,
        width: width as u64,
        height: height as u64,
    };
    match p.kind {
        1 => Ok(Side::Host(rows(p.host.0 as u64))),
        2 => Ok(Side::Device(rows(p.device))),
        4 => Ok(match driver.side(p.device, 1) {
            Side::Host(_) => Side::Host(rows(p.device)),
            Side::Device(_) => Side::Device(rows(p.device)),
        }),
        3 => {
            report::unsupported("copies to and from CUDA arrays");
            Err(Status::NOT_SUPPORTED)
        }
        _ => Err(Status::INVALID_VALUE),
    }
}

fn copy_2d(copy: &In<'_, Copy2d>, stream: Stream, back: Return, name: &str) -> Status {
    here(|d, context| {
        let c = copy.get()?;
        let from = plane(d, &c.source, c.width, c.height)?;
        let to = plane(d, &c.target, c.width, c.height)?;
        d.copy_rows(context, stream, from, to, back, name)
    })
}

fn copy(from: Side, to: Side, stream: Stream, back: Return, name: &str) -> Status {
    here(|d, context| d.copy_rows(context, stream, from, to, back, name))
}

fn fill(address: u64, value: u32, width: u8, count: usize, stream: Stream, name: &str) -> Status {
    let rows = Rows::line(address, (count as u64).saturating_mul(width.into()));
    here(|d, context| d.fill_rows(context, stream, rows, value, width, name))
}

fn fill_2d(
    address: u64,
    pitch: usize,
    value: u32,
    element: u8,
    size: [usize; 2],
    stream: Stream,
    name: &str,
) -> Status {
    let width = (size[0] as u64).saturating_mul(element.into());
    let rows = Rows {
        address,
        pitch: pitch as u64,
        width,
        height: size[1] as u64,
    };
    if rows.pitch < rows.width {
        return Status::INVALID_VALUE;
    }
    here(|d, context| d.fill_rows(context, stream, rows, value, element, name))
}

exports! {
    /// Host to device; done when it returns.
    fn cuMemcpyHtoD_v2(to: u64, from: Host, bytes: usize) {
        copy(on_host(from, bytes), on_device(to, bytes), Stream::LEGACY, Return::Done, "cuMemcpyHtoD")
    }

    /// Host to device. Pageable memory is read at once, page-locked memory when the copy runs.
    fn cuMemcpyHtoDAsync_v2(to: u64, from: Host, bytes: usize, stream: Stream) {
        copy(on_host(from, bytes), on_device(to, bytes), stream, Return::Early, "cuMemcpyHtoDAsync")
    }

    /// Device to host; done when it returns.
    fn cuMemcpyDtoH_v2(to: Host, from: u64, bytes: usize) {
        copy(on_device(from, bytes), on_host(to, bytes), Stream::LEGACY, Return::Done, "cuMemcpyDtoH")
    }

    /// Device to host. Pageable memory is written before it returns, page-locked memory when the copy runs.
    fn cuMemcpyDtoHAsync_v2(to: Host, from: u64, bytes: usize, stream: Stream) {
        copy(on_device(from, bytes), on_host(to, bytes), stream, Return::Early, "cuMemcpyDtoHAsync")
    }

    /// Device to device. The host does not wait for it.
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        copy(on_device(from, bytes), on_device(to, bytes), Stream::LEGACY, Return::Early, "cuMemcpyDtoD")
    }

    /// Device to device.
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Stream) {
        copy(on_device(from, bytes), on_device(to, bytes), stream, Return::Early, "cuMemcpyDtoDAsync")
    }

    /// Between any two addresses; done when it returns.
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        here(|d, context| {
            let (from, to) = (d.side(from, bytes as u64), d.side(to, bytes as u64));
            d.copy_rows(context, Stream::LEGACY, from, to, Return::Done, "cuMemcpy")
        })
    }

    /// Between any two addresses.
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Stream) {
        here(|d, context| {
            let (from, to) = (d.side(from, bytes as u64), d.side(to, bytes as u64));
            d.copy_rows(context, stream, from, to, Return::Early, "cuMemcpyAsync")
        })
    }

    /// Device to device between contexts; both are on the one device.
    fn cuMemcpyPeer(to: u64, to_context: Context, from: u64, from_context: Context, bytes: usize) {
        here(|d, context| {
            d.health(to_context).and(d.health(from_context)).map_err(|_| Status::INVALID_CONTEXT)?;
            d.copy_rows(context, Stream::LEGACY, on_device(from, bytes), on_device(to, bytes), Return::Early, "cuMemcpyPeer")
        })
    }

    /// The same in a stream.
    fn cuMemcpyPeerAsync(to: u64, to_context: Context, from: u64, from_context: Context, bytes: usize, stream: Stream) {
        here(|d, context| {
            d.health(to_context).and(d.health(from_context)).map_err(|_| Status::INVALID_CONTEXT)?;
            d.copy_rows(context, stream, on_device(from, bytes), on_device(to, bytes), Return::Early, "cuMemcpyPeerAsync")
        })
    }

    /// A rectangle; done when it returns.
    fn cuMemcpy2D_v2(copy: In<'_, Copy2d>) {
        copy_2d(&copy, Stream::LEGACY, Return::Done, "cuMemcpy2D")
    }

    /// The same where rows begin anywhere, which is no difference here.
    fn cuMemcpy2DUnaligned_v2(copy: In<'_, Copy2d>) {
        copy_2d(&copy, Stream::LEGACY, Return::Done, "cuMemcpy2DUnaligned")
    }

    /// A rectangle.
    fn cuMemcpy2DAsync_v2(copy: In<'_, Copy2d>, stream: Stream) {
        copy_2d(&copy, stream, Return::Early, "cuMemcpy2DAsync")
    }

    /// Fills bytes. The host does not wait for it.
    fn cuMemsetD8_v2(address: u64, value: u8, count: usize) {
        fill(address, value.into(), 1, count, Stream::LEGACY, "cuMemsetD8")
    }

    /// Fills 16-bit values.
    fn cuMemsetD16_v2(address: u64, value: u16, count: usize) {
        fill(address, value.into(), 2, count, Stream::LEGACY, "cuMemsetD16")
    }

    /// Fills 32-bit values.
    fn cuMemsetD32_v2(address: u64, value: u32, count: usize) {
        fill(address, value, 4, count, Stream::LEGACY, "cuMemsetD32")
    }

    /// Fills bytes in a stream.
    fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: Stream) {
        fill(address, value.into(), 1, count, stream, "cuMemsetD8Async")
    }

    /// Fills 16-bit values in a stream.
    fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: Stream) {
        fill(address, value.into(), 2, count, stream, "cuMemsetD16Async")
    }

    /// Fills 32-bit values in a stream.
    fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: Stream) {
        fill(address, value, 4, count, stream, "cuMemsetD32Async")
    }

    /// Fills a rectangle of bytes.
    fn cuMemsetD2D8_v2(address: u64, pitch: usize, value: u8, width: usize, height: usize) {
        fill_2d(address, pitch, value.into(), 1, [width, height], Stream::LEGACY, "cuMemsetD2D8")
    }

    /// Fills a rectangle of 16-bit values.
    fn cuMemsetD2D16_v2(address: u64, pitch: usize, value: u16, width: usize, height: usize) {
        fill_2d(address, pitch, value.into(), 2, [width, height], Stream::LEGACY, "cuMemsetD2D16")
    }

    /// Fills a rectangle of 32-bit values.
    fn cuMemsetD2D32_v2(address: u64, pitch: usize, value: u32, width: usize, height: usize) {
        fill_2d(address, pitch, value, 4, [width, height], Stream::LEGACY, "cuMemsetD2D32")
    }

    /// Fills a rectangle of bytes in a stream.
    fn cuMemsetD2D8Async(address: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Stream) {
        fill_2d(address, pitch, value.into(), 1, [width, height], stream, "cuMemsetD2D8Async")
    }

    /// Fills a rectangle of 16-bit values in a stream.
    fn cuMemsetD2D16Async(address: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Stream) {
        fill_2d(address, pitch, value.into(), 2, [width, height], stream, "cuMemsetD2D16Async")
    }

    /// Fills a rectangle of 32-bit values in a stream.
    fn cuMemsetD2D32Async(address: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Stream) {
        fill_2d(address, pitch, value, 4, [width, height], stream, "cuMemsetD2D32Async")
    }
}
