//! Maps of tensors, and the device that has them. The process of these tests has the default device, of compute capability 8.0, where the
//! driver refuses both; what a map must be is asked without it.

use crate::support::{Scope, fails};
use cuda_emulator::driver::abi::{Host, Image, Module, Out, Words};
use cuda_emulator::driver::module::cuModuleLoadData;
use cuda_emulator::driver::status::Status;
use cuda_emulator::driver::tensor_map::{Arguments, cuTensorMapEncodeTiled};

#[repr(align(64))]
struct Map([u64; 16]);

#[test]
fn an_older_device_has_neither_maps_nor_code_for_90() {
    let _scope = Scope::new();
    let mut map = Map([0; 16]);
    // SAFETY: the map is written during the call, if at all.
    let place = unsafe { Host::at(std::ptr::from_mut(&mut map)) };
    let (sizes, extent, steps) = ([64u64], [64u32], [1u32]);
    let one = |words| Words::from(words);
    let status = cuTensorMapEncodeTiled(
        place,
        9,
        1,
        0x1000,
        Words::from(&sizes),
        Words::from(&[]),
        one(&extent),
        one(&steps),
        0,
        3,
        0,
        0,
    );
    fails(Status::NOT_SUPPORTED, status);
    assert_eq!(map.0, [0; 16]);
    let ptx =
        c".version 9.0\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\nwgmma.fence.sync.aligned;\nret;\n}\n";
    let mut module = Module::NULL;
    fails(
        Status::INVALID_PTX,
        cuModuleLoadData(Out::to(&mut module), Image::text(ptx)),
    );
}

/// A sound map of 300 x 200 numbers of bf16, boxes of 64 x 128, swizzled by 128 bytes.
fn sound() -> Arguments<'static> {
    Arguments {
        data_type: 9,
        address: 0x7_0000_1000,
        sizes: &[300, 200],
        strides: &[608],
        extent: &[64, 128],
        steps: &[1, 1],
        interleave: 0,
        swizzle: 3,
        promotion: 2,
        fill: 0,
    }
}

#[test]
fn maps_are_checked() {
    let map = sound().map().unwrap();
    assert_eq!((map.box_bytes(), map.element), (64 * 128 * 2, 2));
    assert_eq!(cuda_emulator::tensor::map::TensorMap::decode(&map.encode()), Some(map));
    let invalid = [
        (
            Arguments {
                data_type: 16,
                ..sound()
            },
            "tensorDataType",
        ),
        (
            Arguments {
                interleave: 1,
                ..sound()
            },
            "tensorRank",
        ),
        (
            Arguments {
                address: 0x1008,
                ..sound()
            },
            "globalAddress",
        ),
        (
            Arguments {
                sizes: &[0, 200],
                ..sound()
            },
            "globalDim[0]",
        ),
        (
            Arguments {
                sizes: &[300, (1 << 32) + 1],
                ..sound()
            },
            "globalDim[1]",
        ),
        (
            Arguments {
                strides: &[600],
                ..sound()
            },
            "globalStrides[0]",
        ),
        (
            Arguments {
                strides: &[1 << 40],
                ..sound()
            },
            "globalStrides[0]",
        ),
        (
            Arguments {
                extent: &[64, 257],
                ..sound()
            },
            "boxDim[1]",
        ),
        (
            Arguments {
                extent: &[63, 128],
                ..sound()
            },
            "multiple of 16",
        ),
        (
            Arguments {
                extent: &[128, 128],
                ..sound()
            },
            "swizzling of 128",
        ),
        (
            Arguments {
                steps: &[1, 9],
                ..sound()
            },
            "elementStrides[1]",
        ),
        (Arguments { swizzle: 7, ..sound() }, "swizzle"),
        (
            Arguments {
                promotion: 4,
                ..sound()
            },
            "l2Promotion",
        ),
        (Arguments { fill: 2, ..sound() }, "oobFill"),
        (
            Arguments {
                fill: 1,
                data_type: 1,
                ..sound()
            },
            "NaN",
        ),
    ];
    for (arguments, words) in invalid {
        let (status, text) = arguments.map().unwrap_err();
        assert_eq!(status, Status::INVALID_VALUE, "{text}");
        assert!(text.contains(words), "{text}");
    }
    for arguments in [
        Arguments {
            data_type: 13,
            ..sound()
        },
        Arguments { swizzle: 4, ..sound() },
        Arguments { fill: 1, ..sound() },
        Arguments {
            extent: &[32, 128],
            ..sound()
        },
    ] {
        assert_eq!(arguments.map().unwrap_err().0, Status::NOT_SUPPORTED);
    }
}
