//! What is wrong with a configuration, in words that say how to mend it.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no configuration. The process ends with exit code 78.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error(
        "{}: there is no such configuration file ({said_by}); write one, config/default.toml shows every key, or name another by --config FILE or TIERD_CONFIG",
        path.display()
    )]
    NotFound { path: PathBuf, said_by: &'static str },
    /// There is one, but it cannot be read or is not UTF-8.
    #[error("{}: the configuration file cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// All that is wrong with it, a line each.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// `ingest.source[0].bucket`; none if no key is concerned.
    pub key: Option<String>,
    pub wrong: String,
    pub right: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File {
        /// None for a text that is no file's.
        file: Option<PathBuf>,
        /// From 1; none for what the file lacks.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
}

impl Place {
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => *line,
            Self::Variable(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file: Some(file), line } => {
                write!(f, "{}", file.display())?;
                line.map_or(Ok(()), |line| write!(f, ":{line}"))
            }
            Self::File { file: None, line: Some(line) } => write!(f, "line {line}"),
            Self::File { file: None, line: None } => write!(f, "configuration"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, wrong, right } = self;
        match key {
            Some(key) => write!(f, "{place}: key `{key}`: {wrong}; {right}"),
            None => write!(f, "{place}: {wrong}; {right}"),
        }
    }
}

/// A path as people read it: indices in brackets.
pub(super) fn display_key(path: &[String]) -> String {
    let mut key = String::new();
    for segment in path {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            key.push_str(&format!("[{segment}]"));
        } else {
            key.push_str(if key.is_empty() { "" } else { "." });
            key.push_str(segment);
        }
    }
    key
}
