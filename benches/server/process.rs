//! What the system tells of a process.

use std::time::Duration;

/// Processor time of a process (`self`, or its id), from `/proc`; zero where there is none.
pub fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    // Linux counts in hundredths of a second for user space, whatever the kernel's own clock.
    Duration::from_millis(ticks * 10)
}

/// What a line of a process's status says, such as `VmHWM:` (the most that was resident at a time), in MiB; None once the process
/// has ended, and where there is no such file.
#[allow(dead_code, reason = "the transition bench does not measure it")]
pub fn memory_mib(process: &str, line: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rest = status.lines().find_map(|text| text.strip_prefix(line))?;
    Some(rest.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
