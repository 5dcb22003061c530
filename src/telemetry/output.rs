//! Where lines go, and how they keep out of the way of what else stands on the terminal.

use std::io::{Result, Write};
use std::sync::{PoisonError, RwLock};

/// Where lines go. The daemon's lines are its output; a command's output is its result, so its lines go to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Does a write while nothing else stands on the terminal.
type Aside = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

static ASIDE: RwLock<Option<Aside>> = RwLock::new(None);

/// Has every line to stderr written by way of `aside` from now on, until the next call: a progress bar there is taken away
/// for the line and drawn anew below it. `aside` must call what it is given, once, and must not log.
pub fn stand_aside(aside: Option<Aside>) {
    *ASIDE.write().unwrap_or_else(PoisonError::into_inner) = aside;
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if *self == Self::Stdout {
            return std::io::stdout().lock().write_all(bytes);
        }
        let mut result = Ok(());
        let mut write = || result = std::io::stderr().lock().write_all(bytes);
        match &*ASIDE.read().unwrap_or_else(PoisonError::into_inner) {
            Some(aside) => aside(&mut write),
            None => write(),
        }
        result
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Stdout => std::io::stdout().lock().flush(),
            Self::Stderr => std::io::stderr().lock().flush(),
        }
    }
}
