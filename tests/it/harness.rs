//! The emulator: started by `deploy/local/emulator` on a free loopback port, shared by all tests of this process, and gone
//! with it. If it cannot be had, every test that needs it fails and says why.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The emulator of this test run.
pub struct Emulator {
    pub endpoint: String,
    /// The emulator ends when this closes, which the kernel sees to whatever becomes of this process.
    _stdin: ChildStdin,
    _child: Mutex<Child>,
}

static EMULATOR: LazyLock<Emulator> = LazyLock::new(|| match start() {
    Ok(emulator) => emulator,
    Err(why) => panic!("the AWS emulator cannot be had, and without it nothing is tested: {why}"),
});

/// Where the emulator listens, such as `http://127.0.0.1:40001`. Starts it at the first call.
pub fn endpoint() -> &'static str {
    &EMULATOR.endpoint
}

/// An emulator of a test's own, for tests that stop it or change its settings.
#[allow(dead_code, reason = "used by the tests that need it")]
pub fn own_emulator() -> Emulator {
    match start() {
        Ok(emulator) => emulator,
        Err(why) => panic!("the AWS emulator cannot be had: {why}"),
    }
}

/// The environment in which `tierd` and the SDK speak to the emulator and to nothing else.
pub fn environment(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_REGION", "ap-northeast-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("TIERD__AWS__ENDPOINT_URL", endpoint),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn start() -> Result<Emulator, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/emulator");
    // What the emulator says of its own troubles (a traceback for each 500) would drown what the tests say.
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "emulator-{}-{}.log",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let log_file = File::create(&log).map_err(|e| format!("{} cannot be made: {e}", log.display()))?;
    let last_words = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut child = Command::new(&script)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .map_err(|e| format!("{} does not start: {e}", script.display()))?;
    let stdin = child.stdin.take().ok_or("no pipe to the emulator")?;
    let stdout = child.stdout.take().ok_or("no pipe from the emulator")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|e| format!("the emulator says nothing: {e}"))?;
    let said: serde_json::Value = serde_json::from_str(&line)
        .map_err(|_| format!("{} ended before the emulator was up:\n{}", script.display(), last_words()))?;
    let endpoint = said["endpoint"].as_str().ok_or_else(|| format!("no endpoint in {line:?}"))?.to_owned();
    Ok(Emulator { endpoint, _stdin: stdin, _child: Mutex::new(child) })
}

/// A turn for a test that keeps all cores busy by itself: two of those at once would starve each other, and everything
/// else, of the time in which leases are renewed.
#[allow(dead_code, reason = "used by the tests that need it")]
pub fn heavy_turn() -> HeavyTurn {
    static TURN: Mutex<()> = Mutex::new(());
    HeavyTurn(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Ends the turn when it is dropped.
#[must_use]
pub struct HeavyTurn(#[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);
