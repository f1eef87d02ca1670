//! A process group that ends with the test's process, however that ends, and a folder that goes with it.
//!
//! A value in a `static` is never dropped, Ctrl-C and SIGKILL drop nothing, and Linux' parent-death signal fires when the
//! *thread* that started a child ends, which for a test is at its end and not at the end of all. So everything is started
//! into one process group, and a shell outside of it reads from a pipe that only this process holds: when the pipe ends,
//! the shell kills the group and removes the folder. The group's leader does nothing but keep the group's number taken.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Signals to the terminal's programs are not for the sweeper: it must see the pipe end.
const SWEEP: &str = r#"trap '' HUP INT TERM
cat >/dev/null
kill -s KILL -- "-$1"
until rm -rf "$2"; do sleep 0.1; done"#;

/// The group, as long as this value or the process lives.
pub struct Lifeline {
    leader: Child,
    sweeper: Child,
}

impl Lifeline {
    /// A new group; `folder` goes when it ends.
    pub fn new(folder: &Path) -> Self {
        let leader = silent(Command::new("sleep").arg("infinity"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sweeper = silent(&mut Command::new("sh"))
            .args(["-c", SWEEP, "sweeper", &leader.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { leader, sweeper }
    }

    /// Starts a program in the group.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let group = i32::try_from(self.leader.id()).unwrap();
        let started = command.process_group(group).spawn();
        started.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // Both end by this; that they may have ended before is no matter.
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
        let _ = self.leader.wait();
    }
}

/// Outside of the terminal's process group, and of the streams that a continuous build waits for.
fn silent(command: &mut Command) -> &mut Command {
    let command = command.process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, path::PathBuf};

    use super::*;
    use crate::wait;

    #[test]
    fn programs_and_the_folder_end_with_it() {
        let folder: PathBuf = tempfile::tempdir().unwrap().keep();
        let lifeline = Lifeline::new(&folder);
        let deaf = "trap '' TERM INT; echo started > started; while :; do sleep 1; done";
        let mut command = Command::new("sh");
        let mut child = lifeline.spawn(command.args(["-c", deaf]).current_dir(&folder));
        wait::until_true("it runs", || folder.join("started").exists());
        assert!(child.try_wait().unwrap().is_none());
        drop(lifeline);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!folder.exists());
    }
}
