//! No C runtime is linked: the program brings its own entry point.

fn main() {
    for arg in ["-nostdlib", "-nostartfiles", "-static"] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
