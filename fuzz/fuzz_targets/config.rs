//! Configuration files: what is accepted is accepted again as it is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tierd::config::Settings;

fuzz_target!(|text: &str| {
    if let Ok(settings) = Settings::from_toml(text) {
        let printed = settings.to_toml();
        let again = Settings::from_toml(&printed).expect("what tierd prints it reads");
        assert_eq!(again.to_toml(), printed);
    }
});
