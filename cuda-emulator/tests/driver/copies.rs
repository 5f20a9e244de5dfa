//! Copies and memsets: what they move and what they refuse.

use crate::support::{Scope, alloc, content, device, fails, host, ok, was_reported};
use cuda_emulator::driver::abi::{Copy2d, Host, In, Plane, Stream};
use cuda_emulator::driver::context::cuCtxSynchronize;
use cuda_emulator::driver::copy::{
    cuMemcpy, cuMemcpy2D_v2, cuMemcpyDtoD_v2, cuMemcpyDtoH_v2, cuMemcpyHtoD_v2, cuMemcpyPeerAsync, cuMemsetD2D8_v2,
    cuMemsetD8_v2, cuMemsetD16_v2, cuMemsetD32_v2,
};
use cuda_emulator::driver::status::Status;

#[test]
fn values_of_every_width_are_set() {
    let _scope = Scope::new();
    let data = device(&[0; 16]);
    ok(cuMemsetD8_v2(data, 1, 4));
    ok(cuMemsetD16_v2(data + 4, 0x0203, 2));
    ok(cuMemsetD32_v2(data + 8, 0x0405_0607, 2));
    assert_eq!(content(data, 16), [1, 1, 1, 1, 3, 2, 3, 2, 7, 6, 5, 4, 7, 6, 5, 4]);
    fails(Status::INVALID_VALUE, cuMemsetD32_v2(data + 2, 0, 1));
}

#[test]
fn a_copy_stays_inside_its_allocation() {
    let _scope = Scope::new();
    let (data, bytes) = (device(&[1; 16]), vec![0; 32]);
    fails(Status::INVALID_VALUE, cuMemcpyHtoD_v2(data + 8, host(&bytes), 9));
    assert!(was_reported("begins at byte 8 of an allocation of 16 bytes"));
    fails(Status::INVALID_VALUE, cuMemcpyDtoH_v2(host(&bytes), data + 16, 1));
    fails(Status::INVALID_VALUE, cuMemcpyDtoH_v2(host(&bytes), 64, 1));
    ok(cuMemcpyDtoH_v2(host(&bytes), data + 16, 0));
}

#[test]
fn the_host_is_told_of_bytes_that_nothing_wrote() {
    let _scope = Scope::new();
    let (data, copy) = (alloc(16), alloc(16));
    ok(cuMemsetD8_v2(data, 0, 12));
    content(data, 12);
    assert!(!was_reported("uninitialised"));
    content(data, 16);
    assert!(was_reported("nothing has written 4 of the 16 bytes"));
    // A copy takes along what is initialised and what is not.
    ok(cuMemcpyDtoD_v2(copy, data, 16));
    assert!(!was_reported("uninitialised"));
    content(copy, 16);
    assert!(was_reported("the first at byte 12"));
}

#[test]
fn a_copy_may_leave_its_kind_to_the_driver() {
    let _scope = Scope::new();
    let (a, b, bytes) = (device(&[1; 16]), alloc(16), vec![0u8; 16]);
    ok(cuMemcpy(b, a, 16));
    ok(cuMemcpy(bytes.as_ptr().expose_provenance() as u64, b, 16));
    assert_eq!(std::hint::black_box(&bytes), &[1; 16]);
}

#[test]
fn contexts_of_one_device_share_its_memory() {
    let one = Scope::new();
    let a = device(&[1; 16]);
    let two = Scope::new();
    let b = alloc(16);
    ok(cuMemcpyPeerAsync(b, two.0, a, one.0, 16, Stream::NULL));
    assert_eq!(content(b, 16), [1; 16]);
}

#[test]
fn rectangles_skip_what_lies_between_their_rows() {
    let _scope = Scope::new();
    let image: Vec<u8> = (0..24).collect();
    let data = device(&[0; 40]);
    let nothing = Plane {
        x: 0,
        y: 0,
        kind: 0,
        host: host(&image),
        device: 0,
        array: 0,
        pitch: 0,
    };
    // Columns 2..5 of rows 1..3 of 6 bytes to columns 1..4 of rows 2..4 of 8 bytes.
    let copy = Copy2d {
        source: Plane {
            x: 2,
            y: 1,
            kind: 1,
            pitch: 6,
            ..nothing
        },
        target: Plane {
            x: 1,
            y: 2,
            kind: 2,
            device: data,
            pitch: 8,
            ..nothing
        },
        width: 3,
        height: 2,
    };
    ok(cuMemcpy2D_v2(In::from(&copy)));
    let mut expected = [0; 40];
    expected[17..20].copy_from_slice(&[8, 9, 10]);
    expected[25..28].copy_from_slice(&[14, 15, 16]);
    assert_eq!(content(data, 40), expected);
    ok(cuMemsetD2D8_v2(data, 8, 7, 2, 5));
    ok(cuCtxSynchronize());
    assert_eq!(content(data, 10), [7, 7, 0, 0, 0, 0, 0, 0, 7, 7]);
    let narrow = Copy2d {
        target: Plane {
            pitch: 2,
            ..copy.target
        },
        ..copy
    };
    fails(Status::INVALID_VALUE, cuMemcpy2D_v2(In::from(&narrow)));
    let array = Copy2d {
        target: Plane { kind: 3, ..copy.target },
        ..copy
    };
    fails(Status::NOT_SUPPORTED, cuMemcpy2D_v2(In::from(&array)));
}

#[test]
fn null_is_no_place_for_bytes() {
    let _scope = Scope::new();
    let data = device(&[1; 16]);
    // SAFETY: the copy is refused.
    let null = unsafe { Host::at(std::ptr::null::<u8>()) };
    fails(Status::INVALID_VALUE, cuMemcpyHtoD_v2(data, null, 16));
    fails(Status::INVALID_VALUE, cuMemcpyDtoH_v2(null, data, 16));
}
