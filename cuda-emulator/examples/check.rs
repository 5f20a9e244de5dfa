//! Loads PTX files and says, for each, which kernels it has or what cannot be executed: `check FILE.ptx …`.

use cuda_emulator::engine::{Engine, Options};

fn main() {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let loaded = std::fs::read_to_string(&path)
            .map_err(|e| e.to_string())
            .and_then(|text| Engine::new(Options::default()).load(&text).map_err(|e| e.to_string()));
        match loaded {
            Ok(module) => {
                let kernels = module.kernels.keys().map(String::as_str).collect::<Vec<_>>();
                println!("{path}: {}", kernels.join(" "));
            }
            Err(e) => {
                println!("{path}: {e}");
                failed = true;
            }
        }
    }
    std::process::exit(failed.into());
}
