//! A full disk is "later" for clients (`452 4.3.1`), loses nothing that was confirmed, and ends by itself when mail has
//! left.

use std::{path::PathBuf, process::Command};

use posthouse_tests::{Client, Reply, Script, Site, client::message, provider::Absent, wait};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only who may mount can have one; says so if not.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: no small file system can be mounted here");
        }
        mounted.then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The kernel does it when the last process is gone.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// A message of 27 KiB; the reply to it, or the first refusal on the way: any step may say that there is no room.
fn offer(client: &mut Client, subject: &str) -> Reply {
    let filler = "\r\nA line that fills the disk.".repeat(1000);
    let content = message(FROM, subject) + &filler;
    let steps = [
        (format!("MAIL FROM:<{FROM}>"), 250),
        (format!("RCPT TO:<{TO}>"), 250),
        ("DATA".to_owned(), 354),
        (content + "\r\n.", 250),
    ];
    let refused = |(line, code): &(String, u16)| {
        Some(client.command(line)).filter(|reply| reply.code != *code)
    };
    let accepted = Reply {
        code: 250,
        lines: Vec::new(),
    };
    steps.iter().find_map(refused).unwrap_or(accepted)
}

#[test]
fn and_takes_mail_again_when_some_has_left() {
    let absent = Absent::reserve();
    let mut site = Site::relaying_to(absent.port());
    let Some(_disk) = SmallDisk::mount(site.spool(), "size=24m") else {
        return;
    };
    let gateway = site.start();
    let mut confirmed = 0;
    let refusal = loop {
        let reply = offer(&mut gateway.client(), &format!("{confirmed}"));
        if reply.code != 250 {
            break reply;
        }
        confirmed += 1;
        assert!(
            confirmed < 2000,
            "24 MiB hold no {confirmed} messages of 27 KiB"
        );
    };
    assert!(
        refusal.text().starts_with("452 4.3.1"),
        "{}",
        refusal.text()
    );
    assert!(
        confirmed > 50,
        "only {confirmed} were taken before: {}",
        refusal.text()
    );
    let rejected = gateway.metric(
        "posthouse_messages_rejected_total",
        &["reason=\"disk_full\""],
    );
    assert!(rejected >= 1.0);
    gateway.kill();

    let provider = absent.answer(Script::take());
    let gateway = site.restart();
    provider.wait_for(confirmed);
    assert_eq!(provider.subjects().len(), confirmed);
    wait::until_true("there is room again", || {
        offer(&mut gateway.client(), "after").code == 250
    });
    wait::until_true("it is relayed", || {
        provider.subjects().contains_key("after")
    });
}
