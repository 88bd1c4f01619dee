//! A disk that is full: searches go on, writes are refused with 507, and come back by themselves when there is room.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::{Verdict, difference};
use crate::crowd::create;
use crate::house::{Client, Server, fine};
use crate::mount::Mount;
use crate::take_turn;
use crate::writer::{Step, Writer};

const DISK: u64 = 24 << 20;
/// Room that is left at first.
const ROOM: u64 = 300 << 10;
/// How soon after there is room writes must be taken.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let _turn = take_turn();
    let Some(disk) = Mount::tmpfs(DISK) else {
        println!("skipped: a small disk needs root, and the right to mount");
        return;
    };
    let data = disk.data();
    let server = Server::start(&data);
    let client = server.client();
    create(&client);
    let mut writers: Vec<Writer> = (0..2).map(Writer::new).collect();
    for round in 0..3 {
        let ballast = disk.root.join("ballast");
        fill(&disk, &ballast);
        // What was kept of the log for its age alone makes room once.
        let written = write_until_full(&client, &mut writers) + write_until_full(&client, &mut writers);
        assert!(written > 0 || round > 0, "nothing fits at all");
        // A checkpoint has no room either; what it began goes, or nothing would ever fit again.
        let (status, problem) = client.post("/checkpoint", &json!({})).unwrap();
        assert!((500..=507).contains(&status), "{status} {problem}");
        for _ in 0..20 {
            assert_eq!(writers[0].step(&client), Step::Refused(507), "round {round}");
            assert_eq!(difference(&client, &writers), None);
        }
        std::fs::remove_file(&ballast).unwrap();
        let since = Instant::now();
        while writers[0].step(&client) == Step::Refused(507) {
            assert!(since.elapsed() < SOON, "there is room, and writes are not taken");
            std::thread::sleep(Duration::from_millis(50));
        }
        println!(
            "{written} writes, then 507; taken again {:.1} s after there was room",
            since.elapsed().as_secs_f64()
        );
        fine(client.post("/checkpoint", &json!({})));
        assert_eq!(difference(&client, &writers), None);
    }
    assert_eq!(server.panic(), None);
    drop(server);
    let server = Server::start(&data);
    let mut verdict = Verdict::default();
    verdict.check(&server.client(), &mut writers);
    verdict.must_be_clean();
}

/// Leaves a little room on the disk.
fn fill(disk: &Mount, ballast: &Path) {
    let bytes = free(&disk.root).saturating_sub(ROOM);
    std::fs::write(ballast, vec![0; bytes as usize]).unwrap();
}

/// Bytes that are free on the file system of a directory.
fn free(directory: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(directory).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers[0] * numbers[1]
}

fn write_until_full(client: &Client, writers: &mut [Writer]) -> usize {
    for written in 0..10_000 {
        match writers[written % 2].step(client) {
            Step::Acknowledged => {}
            Step::Refused(507) => return written,
            step => panic!("after {written} writes: {step:?}"),
        }
    }
    panic!("the disk does not fill up");
}
