use super::*;

#[test]
fn a_lower_instruction_set_can_be_forced() {
    for isa in Isa::available() {
        let settings = Settings::from_vars(Some(isa.name()), Some("3")).unwrap();
        assert_eq!(settings, Settings { threads: 3, isa });
    }
    assert_eq!(Isa::available()[0], Isa::Portable);
    assert_eq!(Settings::from_vars(None, None).unwrap().isa, Isa::best());
}

#[test]
fn what_is_not_there_is_named() {
    let error = Settings::from_vars(Some("sse9"), None).unwrap_err().to_string();
    assert!(
        error.starts_with("PROXIMAL_CPU=sse9: unknown, expected one of portable"),
        "{error}"
    );
    // No machine has both.
    let missing = [Isa::Neon, Isa::Avx2].into_iter().find(|isa| !isa.is_available());
    if let Some(isa) = missing {
        let error = Settings::from_vars(Some(isa.name()), None).unwrap_err().to_string();
        assert!(error.contains("this machine does not have it"), "{error}");
    }
    for bad in ["0", "-1", "two", "", "2000"] {
        let error = Settings::from_vars(None, Some(bad)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("PROXIMAL_THREADS={bad}: expected a number from 1 to 1024")
        );
    }
}

#[test]
#[should_panic(expected = "this machine does not have")]
fn an_instruction_set_that_is_not_there_is_not_run() {
    let missing = [Isa::Neon, Isa::Avx2]
        .into_iter()
        .find(|isa| !isa.is_available())
        .unwrap();
    let _ = Level::new(missing);
}

#[test]
fn the_tile_is_that_of_the_vectors() {
    use crate::fast::simd::{MAX_LANES, MAX_ROWS, kernels};
    kernels! {
        fn tile(_s) -> (usize, usize) {
            assert!(S::LANES <= MAX_LANES && S::MR <= MAX_ROWS && S::NR * S::MR <= crate::fast::linear::MAX_TILE);
            (S::NR, S::MR)
        }
    }
    for isa in Isa::available() {
        let level = Level::new(isa);
        assert_eq!(tile(level), level.tile());
    }
}
