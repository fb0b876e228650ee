//! Processes as the kernel sees them: memory, CPU time, and what it costs to start one at all.
//!
//! All of it comes from Linux's /proc (man 5 proc). Elsewhere these figures are missing and the others are not.

use crate::failure::Failure;
use crate::stats::{Sample, millis};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Kernel clock ticks a second in /proc/PID/stat: USER_HZ, 100 on every architecture that Lambda has.
const TICKS_PER_SECOND: u32 = 100;

/// What lives in every zip beside the compressed bytes of one file with a short name: local header, central directory, end record.
const ZIP_FRAME: u64 = 130;

/// Resident memory of a process, KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Now (VmRSS).
    pub(crate) resident_kib: u64,
    /// The most since it started (VmHWM).
    pub(crate) peak_kib: u64,
}

/// CPU time that a process has used, and how finely it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub(crate) used: Duration,
    pub(crate) clock: CpuClock,
}

/// Where CPU time was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CpuClock {
    /// The scheduler's count, nanoseconds, of the threads that are alive (/proc/PID/task/*/schedstat).
    Scheduler,
    /// Ticks of 10 ms, user and system (/proc/PID/stat).
    Ticks,
}

/// Memory of the process `pid`.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// CPU time of the process `pid`.
pub(crate) fn cpu_time(pid: u32) -> Option<CpuTime> {
    scheduled(pid).map(|used| CpuTime { used, clock: CpuClock::Scheduler }).or_else(|| {
        Some(CpuTime {
            used: parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?,
            clock: CpuClock::Ticks,
        })
    })
}

/// CPU time that this thread has used.
pub(crate) fn thread_time() -> Option<Duration> {
    parse_schedstat(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

fn scheduled(pid: u32) -> Option<Duration> {
    let mut used = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        used += parse_schedstat(&text)?;
    }
    (!used.is_zero()).then_some(used)
}

fn parse_status(text: &str) -> Option<Memory> {
    let kib = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())
    };
    Some(Memory { resident_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
}

/// The first number is the time on a CPU, nanoseconds (kernel documentation, scheduler/sched-stats).
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Fields 14 and 15. The second field is the program's name, which may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Duration> {
    let mut after_name = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let ticks: u32 = after_name.next()?.parse::<u32>().ok()?.checked_add(after_name.next()?.parse().ok()?)?;
    Some(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
}

/// The size of a deployment artifact, KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Artifact {
    pub(crate) plain_kib: f64,
    /// As a zip with the usual compression (DEFLATE, level 6).
    pub(crate) zip_kib: f64,
}

/// Measures the file at `path`.
pub(crate) fn artifact(path: &Path) -> Result<Artifact, Failure> {
    let failed = |error: io::Error| Failure::harness(&path.display().to_string(), error);
    let mut packed = DeflateEncoder::new(Counted(0), Compression::default());
    let plain = io::copy(&mut fs::File::open(path).map_err(failed)?, &mut packed).map_err(failed)?;
    let zipped = packed.finish().map_err(failed)?.0 + ZIP_FRAME;
    Ok(Artifact { plain_kib: plain as f64 / 1024.0, zip_kib: zipped as f64 / 1024.0 })
}

/// Counts what is written to it.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long the smallest program takes from its start to its end, median of `runs`, milliseconds: no cold start can be below that.
pub(crate) fn spawn_floor_ms(runs: usize) -> Option<f64> {
    let program = ["/usr/bin/true", "/bin/true"].into_iter().find(|path| Path::new(path).is_file())?;
    let once = || {
        let started = Instant::now();
        let ended = Command::new(program).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).status();
        ended.ok().filter(|status| status.success()).map(|_| started.elapsed())
    };
    // The first one reads it from the disk.
    once()?;
    let times: Option<Sample> = (0..runs).map(|_| once()).collect();
    times?.median().map(millis)
}

/// The machine, as far as it explains figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) architecture: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Machine {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim().to_owned()));
        Machine {
            cpu: name.unwrap_or_else(|| "unknown CPU".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            architecture: std::env::consts::ARCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_file() {
        let text =
            "Name:\tbootstrap\nVmPeak:\t  300000 kB\nVmHWM:\t    7012 kB\nVmRSS:\t    6900 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse_status(text), Some(Memory { resident_kib: 6900, peak_kib: 7012 }));
        // A zombie has no memory left.
        assert_eq!(parse_status("Name:\tbootstrap\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn ticks_are_read_behind_a_name_with_blanks_and_parentheses() {
        let text = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 99";
        assert_eq!(parse_stat(text), Some(Duration::from_millis(1750)));
        for broken in ["", "42 (a", "42 (a) S 1 2 3", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 25"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_schedulers_count_is_in_nanoseconds() {
        assert_eq!(parse_schedstat("451559 6484423 3\n"), Some(Duration::from_nanos(451_559)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_uses_cpu_time() {
        let pid = std::process::id();
        let memory = memory(pid).expect("memory");
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib, "{memory:?}");
        let before = cpu_time(pid).expect("a time");
        let begun = Instant::now();
        while cpu_time(pid).expect("a time").used <= before.used {
            assert!(begun.elapsed() < Duration::from_secs(20), "no CPU time was counted");
        }
    }

    #[test]
    fn an_artifact_that_repeats_itself_is_small_as_a_zip() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bootstrap");
        fs::write(&path, vec![7; 64 * 1024]).expect("a file");
        let artifact = artifact(&path).expect("a size");
        assert!((artifact.plain_kib - 64.0).abs() < f64::EPSILON);
        assert!(artifact.zip_kib > 0.1 && artifact.zip_kib < 1.0, "{artifact:?}");
    }
}
