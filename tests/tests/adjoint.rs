//! The backward of each operation against its forward, <u, J v> = <J' u, v>, on the CPU; on the CUDA device in `cuda.rs`.
use tests::adjoint::{slopes, transposes};
use tests::device::{Backend, Device};
use tests::devices::{Visit, each, oracle};

struct Transposes;

impl Visit for Transposes {
    fn visit<B: Backend>(&mut self, device: &Device<B>) {
        transposes(device);
    }
}

#[test]
fn the_backward_of_a_linear_operation_is_its_transpose_on_every_backend() {
    each(&mut Transposes);
}

#[test]
fn the_backward_of_the_oracle_is_the_transpose_of_its_tangent_at_full_size() {
    slopes(&oracle());
}
