//! The ladder of checks of the operations. Every operation of a backend is a [`Case`](case::Case): named inputs, named
//! outputs, one call. The same list runs on every backend; what is asked of the results is a file in `tests/`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`host`] | matrices of f64 on the host, the generator |
//! | [`device`] | a backend under test: guard rows around every buffer, rounding to what it can represent |
//! | [`devices`] | the list of backends; a new one is added there and nowhere else |
//! | [`case`], [`run`] | an operation with its inputs; how it is called |
//! | [`backward`], [`tangent`] | from a forward case to its backward cases, to those of its tangent |
//! | [`cases`] | the list of cases |
//! | [`adjoint`] | a backward against its forward |
//! | [`tolerance`] | the one table, and the comparison |
//!
//! Above the operations, the whole program: these drive the library and the real `proximal` binary.
//!
//! | module | what it holds |
//! |---|---|
//! | [`program`] | the binary, built once, and what its runs said |
//! | [`tiny`] | model folders of a few thousand numbers |
//! | [`whole`] | models of two shapes in memory, on every backend |
//! | [`lab`] | a folder with such a model and a little data to train on |
//! | [`mutant`] | the oracle with one bug in its tangents |
//! | [`tabular`] | a policy of which everything is known |
//! | [`edit`] | one number of a tensor file changed |
//!
//! | test | what it asks |
//! |---|---|
//! | `known` | answers worked out by hand: what self-consistency cannot see |
//! | `parity` | every case on every backend against `Cpu<f64>` |
//! | `finite_differences` | every gradient of the oracle, number by number |
//! | `adjoint` | <u, J v> = <J' u, v> |
//! | `shared_prefix` | a tree gives what the unshared sequences give |
//! | `invariance` | `==`: rows beside, threads, order of segments, decode and training |
//! | `coverage` | every method of the traits has a case |
//! | `golden` | the reference numbers of PyTorch, and that a changed one is found |
//! | `transformer` | the whole model's gradients: differences, prefix trees, checkpointing, threads |
//! | `tangent` | the operations' tangents: differences, the backward's transpose, the head's curvature |
//! | `fisher` | F v of a model: symmetry, variance, the KL's curvature, planted bugs |
//! | `trust_region` | a step on a transformer: its promises, and that nothing is left of one that was not taken |
//! | `tabular` | what TRPO stands on, exactly, on a table |
//! | `decode` | `==`: decode gives the logits of training, whatever stands beside |
//! | `resume` | a run that is killed and gone on with equals one that is not |
//! | `online` | grpo, rloo, ppo, trpo: resume, other orders of work, trainer against `verify`, bad input |
//! | `sft`, `eval`, `cli` | what the commands do |
//! | `rewards` | TRL's reward functions, and reward models of transformers |
//! | `examples` | every configuration in `examples/` runs as it is on a tiny model |
//! | `refused` | broken input: one clear error each |
//! | `demo` | the demo reaches its goal |

pub mod adjoint;
pub mod backward;
pub mod case;
pub mod cases;
pub mod device;
pub mod devices;
pub mod edit;
pub mod host;
pub mod lab;
pub mod mutant;
pub mod program;
pub mod run;
pub mod tabular;
pub mod tangent;
pub mod tiny;
pub mod tolerance;
pub mod whole;
