//! Failpoints: a name for every place between two effects, so that a test can have the program die exactly there.
//!
//! A start in a debug build with `TIERD_FAILPOINT=provision.bucket-made` aborts when it first comes by
//! `failpoint!("provision.bucket-made")`; `provision.bucket-made:3` when it comes by for the third time. An abort runs no
//! destructor and no drain: nothing is given back, as after SIGKILL. In release builds the macro is nothing at all.
//!
//! Each name is tried, and the list of names kept, by the integration tests (`tests/it/failpoints/`).
//!
//! Rejected: the `fail` crate. Its actions are a panic, which the supervisor here catches (a part that panics is started
//! again), a return and a pause; none ends the process, and its Cargo feature would have to be kept out of releases by hand.

#[cfg(debug_assertions)]
use std::sync::LazyLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// Names the place between the effect before it and the effect after it.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reach($name);
    };
}

/// Where the program is to die.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct Armed {
    name: String,
    /// How often the place is still passed before.
    left: AtomicU32,
}

#[cfg(debug_assertions)]
static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| armed(&std::env::var("TIERD_FAILPOINT").ok()?));

/// Aborts the process if this is the place where it is to die.
#[cfg(debug_assertions)]
pub(crate) fn reach(name: &str) {
    if let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name)
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 0
    {
        std::process::abort();
    }
}

#[cfg(debug_assertions)]
fn armed(text: &str) -> Option<Armed> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let left = nth.parse::<u32>().ok()?.checked_sub(1)?;
    Some(Armed { name: name.to_owned(), left: AtomicU32::new(left) })
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_armed_by_its_name_and_the_time_it_is_passed() {
        for (text, expected) in [
            ("a.b", Some(("a.b", 0))),
            ("a.b:1", Some(("a.b", 0))),
            ("a.b:3", Some(("a.b", 2))),
            ("a.b:0", None),
            ("a.b:x", None),
        ] {
            let armed = armed(text);
            let seen = armed.as_ref().map(|armed| (armed.name.as_str(), armed.left.load(Ordering::Relaxed)));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
