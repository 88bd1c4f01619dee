//! Power cuts: an ext4 in a file is shut down under a server at work, without flushing its journal; the server is
//! killed, the file system mounted again, and what is there compared with what was promised.
//!
//! What this cannot show is a disk that forgets what it has taken: the file under the file system keeps every write that
//! reached it. It shows that nothing was promised that only the kernel's memory had.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::Verdict;
use crate::crowd::{Crowd, create};
use crate::house::Server;
use crate::mount::Mount;
use crate::{Random, is_long, take_turn};

/// Bytes that nobody syncs.
const MARK: usize = 100_000;

#[test]
fn power_cuts_lose_nothing() {
    let _turn = take_turn();
    let (cuts, writers, searchers) = if is_long() { (50, 8, 4) } else { (3, 4, 1) };
    let Some(disk) = Mount::ext4() else {
        println!("skipped: power cuts need root, ext4 and a loop device");
        return;
    };
    let data = disk.data();
    sync(&disk.root);
    let (mut crowd, mut random) = (Crowd::new(writers, searchers), Random(11));
    let (mut verdict, mut recoveries, mut lost_marks) = (Verdict::default(), Vec::new(), 0);
    let mut server = Server::start(&data);
    create(&server.client());
    for cut in 0..cuts {
        let work = Duration::from_millis(100 + random.below(1_400));
        let (in_a_checkpoint, moment) = (cut % 3 == 1, Duration::from_millis(random.below(60)));
        let in_its_end = cut % 3 == 2;
        let (ending, off) = (AtomicBool::new(false), AtomicBool::new(false));
        let mark = disk.root.join(format!("mark-{cut}"));
        let mut is_cut = None;
        crowd.live_until_cut(&mut server, &ending, &off, |server| {
            std::thread::sleep(work);
            std::fs::write(&mark, vec![b'm'; MARK]).unwrap();
            std::thread::scope(|scope| {
                if in_a_checkpoint {
                    // Nobody waits for its answer.
                    scope.spawn(|| drop(server.client().post("/checkpoint", &json!({}))));
                    std::thread::sleep(moment);
                }
                ending.store(true, SeqCst);
                if in_its_end {
                    server.terminate();
                    std::thread::sleep(moment);
                }
                // The kernel may call a sync done that was under way when the disk went: only what was answered before counts.
                off.store(true, SeqCst);
                is_cut = disk.cut();
                std::thread::sleep(Duration::from_millis(50));
                server.signal("KILL");
            });
            server.kill();
            assert_eq!(server.panic(), None, "a disk that is dead is no reason to panic");
        });
        if is_cut.is_none() {
            println!("skipped: this kernel does not cut the power of an ext4");
            return;
        }
        disk.remount();
        lost_marks += usize::from(!is_whole(&mark));
        let began = Instant::now();
        server = Server::start(&data);
        recoveries.push(began.elapsed());
        verdict.check(&server.client(), &mut crowd.writers);
    }
    let late: usize = crowd.writers.iter().map(|writer| writer.late).sum();
    println!(
        "{late} writes were answered after the cut; {lost_marks} of {cuts} files that nobody synced were lost, as they should be"
    );
    crowd.report(&format!("{cuts} power cuts"), &verdict, &mut recoveries);
    assert!(lost_marks > 0, "a cut that loses nothing shows nothing");
    server.kill();
}

fn sync(directory: &Path) {
    std::fs::File::open(directory).unwrap().sync_all().unwrap();
}

fn is_whole(mark: &Path) -> bool {
    std::fs::read(mark).is_ok_and(|bytes| bytes == vec![b'm'; MARK])
}
