//! The one error of everything that reads or writes files: it names the file, the field, what was expected and
//! what was found.
use std::path::{Path, PathBuf};

/// What went wrong with a file, and where in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, an infinitive: "open", "write".
        action: &'static str,
        /// The system's own word. Part of the message, so not a `source` as well.
        cause: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("{}: {field}: expected {expected}, found {found}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, tensor, column or line: "line 3", "tensor model.norm.weight".
        field: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
}

impl Error {
    /// An [`Error::Io`] on `path`, for `map_err`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| Self::Io { path, action, cause }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(
        path: impl AsRef<Path>,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            path: path.as_ref().to_owned(),
            field: field.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// The result of everything in this crate that touches a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;
