//! The processes of one side, in a control group of their own: how much CPU they used and who they are.
//!
//! Control groups of version 1 (`cpuacct`) or 2; where neither can be written, `/proc` of the first process and all
//! below it, whose clock ticks are 10 ms.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Where control groups that account for CPU are found: version 1, version 2.
const ROOTS: [(&str, Accounting); 2] = [
    ("/sys/fs/cgroup/cpuacct", Accounting::Version1),
    ("/sys/fs/cgroup", Accounting::Version2),
];

/// A clock tick of `/proc/<pid>/stat` (`USER_HZ`), the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
enum Accounting {
    Version1,
    Version2,
}

/// The processes of one side.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    /// In a control group, which the last user of the value leaves to the kernel to empty.
    Control {
        /// Its folder.
        folder: PathBuf,
        /// Whether it is of version 1.
        version1: bool,
    },
    /// A process and all below it.
    Below(u32),
}

impl Group {
    /// A new control group, if one can be made here.
    pub(crate) fn control(name: &str) -> Option<Self> {
        ROOTS.iter().find_map(|(root, accounting)| {
            let folder =
                Path::new(root).join(format!("posthouse-bench-{}-{name}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Self::Control {
                folder: folder.clone(),
                version1: matches!(accounting, Accounting::Version1),
            };
            let usable = folder.join("cgroup.procs").exists() && group.read_cpu().is_ok();
            if !usable {
                let _ = fs::remove_dir(&folder);
            }
            usable.then_some(group)
        })
    }

    /// The command, as it must be run to be in the group from its first instruction.
    pub(crate) fn wrap(&self, command: Command) -> Command {
        let Self::Control { folder, .. } = self else {
            return command;
        };
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg("echo $$ > \"$0\" && exec \"$@\"")
            .arg(folder.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }

    /// CPU used so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.read_cpu().expect("the group's CPU")
    }

    fn read_cpu(&self) -> io::Result<Duration> {
        match self {
            Self::Control {
                folder,
                version1: true,
            } => {
                let text = fs::read_to_string(folder.join("cpuacct.usage"))?;
                Ok(Duration::from_nanos(
                    text.trim().parse().map_err(io::Error::other)?,
                ))
            }
            Self::Control {
                folder,
                version1: false,
            } => {
                let text = fs::read_to_string(folder.join("cpu.stat"))?;
                let figure = text
                    .lines()
                    .find_map(|line| line.strip_prefix("usage_usec "));
                let figure = figure.ok_or(io::ErrorKind::InvalidData)?;
                Ok(Duration::from_micros(
                    figure.parse().map_err(io::Error::other)?,
                ))
            }
            Self::Below(first) => Ok(below(*first).iter().map(|&pid| ticks(pid)).sum()),
        }
    }

    /// The processes now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match self {
            Self::Control { folder, .. } => {
                let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                text.lines().filter_map(|line| line.parse().ok()).collect()
            }
            Self::Below(first) => below(*first),
        }
    }

    /// Removes the control group, once its processes are gone.
    pub(crate) fn remove(&self) {
        if let Self::Control { folder, .. } = self {
            posthouse_tests::wait::until_true("the control group is empty", || {
                fs::remove_dir(folder).is_ok()
            });
        }
    }
}

/// A process and all below it.
fn below(first: u32) -> Vec<u32> {
    let mut found = vec![first];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(
            children
                .split_ascii_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
        at += 1;
    }
    found
}

/// CPU of a process and of its children that have ended: fields 14–17 of `/proc/<pid>/stat`.
fn ticks(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_ascii_whitespace().skip(11).take(4);
    fields
        .filter_map(|field| field.parse::<u32>().ok())
        .map(|ticks| TICK * ticks)
        .sum()
}
