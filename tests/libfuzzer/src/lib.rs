//! Stands in for the fuzzer's own crate, so that `fuzz/fuzz_targets` can be built as they are, as modules of a test on the
//! stable toolchain. `fuzz_target!` makes a function `run` that takes the input as libFuzzer gives it.

/// What a target asks for, read from the bytes of an input.
pub trait Input<'a>: Sized {
    /// None: these bytes are no such input.
    fn read(bytes: &'a [u8]) -> Option<Self>;
}

impl<'a> Input<'a> for &'a [u8] {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        Some(bytes)
    }
}

impl<'a> Input<'a> for &'a str {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()
    }
}

impl<'a> Input<'a> for (u32, &'a str) {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (number, text) = bytes.split_first_chunk()?;
        Some((u32::from_le_bytes(*number), Input::read(text)?))
    }
}

/// A target: the closure that the fuzzer calls, as a function.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:block) => {
        pub fn run(bytes: &[u8]) {
            let Some($input) = <$kind as $crate::Input>::read(bytes) else { return };
            $body
        }
    };
}
