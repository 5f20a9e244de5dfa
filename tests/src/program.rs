//! The `proximal` binary as users run it.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The binary beside this test, built by the first call in a process.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build)
}

fn build() -> PathBuf {
    let exe = std::env::current_exe().expect("the test's own path");
    // target/<profile>/deps/<test>
    let profile = exe.ancestors().nth(2).expect("a folder of the profile");
    let name = profile.file_name().and_then(|n| n.to_str()).expect("a profile's name");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        // With the tests' own features, or its dependencies would be compiled once more.
        .args(["build", "--quiet", "-p", "proximal", "-p", "tests", "--profile"])
        .arg(if name == "debug" { "dev" } else { name })
        .arg("--target-dir")
        .arg(profile.parent().expect("the target folder"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cargo build -p proximal: {status}");
    profile.join(format!("proximal{}", std::env::consts::EXE_SUFFIX))
}

/// The binary with these arguments, on 2 threads.
pub fn command<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path());
    command.args(args).env("PROXIMAL_THREADS", "2");
    command
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Runs the binary to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    command(args).output().expect("the binary starts").into()
}

impl Ran {
    /// The run, which must have ended with status 0.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The run, which must have been refused: status 2, and one line `error: …` on standard error that has all of
    /// `parts`, in this order.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{self:#?}");
        let error = self.stderr.lines().find(|l| l.starts_with("error: "));
        let mut rest = error.unwrap_or_else(|| panic!("no error among {self:#?}"));
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => panic!("{part:?} expected in the rest of the error, {rest:?}: {self:#?}"),
            }
        }
        self
    }

    /// Asserts that standard error has a line `warning: …` with all of `parts`, in this order.
    #[track_caller]
    pub fn warned(self, parts: &[&str]) -> Self {
        let has = |line: &&str| {
            let mut rest = *line;
            parts.iter().all(|part| match rest.split_once(part) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
        };
        let found = self.stderr.lines().filter(|l| l.contains("warning: ")).find(has);
        assert!(found.is_some(), "no warning with {parts:?} in {self:#?}");
        self
    }
}
