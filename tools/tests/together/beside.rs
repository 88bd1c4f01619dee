//! A second writer beside whatever else is done to a collection: what it was answered is there afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use super::common::shortlist;
use super::copies::{self, await_build};
use super::house::{Client, fine};
use super::model::{Kept, Kind, Put, State};
use super::world::{BackedUp, Exported, World};
use super::writes::a_put;
use super::{check, ends};

/// Puts that the writer has ready.
const PUTS: usize = 2_000;
/// It has begun when so many were answered.
const BEGUN: usize = 3;

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Became {
    Answered(u64),
    Refused,
    /// The connection broke: it is there or not.
    Unknown,
}

/// What was done beside the writer.
enum Done {
    Nothing,
    Exported(Exported),
    BackedUp(String, u64),
    /// The collection was deleted and made again; puts from this one on were begun after that.
    MadeAgain(usize),
    /// A build of other vectors was accepted, which says that it covers the log up to this record.
    Published(Kind, State, u64),
    Stopped,
}

/// One writer that puts one item after the other, and something beside it.
pub fn one(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let dimension = world.kept[&name].kind.dimension;
    let puts: Vec<Put> = (0..PUTS)
        .map(|_| {
            let id = format!("w{}", world.new_number() % 200);
            Put { version: None, inserted_at: None, ..a_put(world, id, dimension) }
        })
        .collect();
    // Sometimes so slow that much else falls between two puts.
    let pause = std::time::Duration::from_millis(world.random.pick(&[0, 0, 5, 60]));
    let (ended, begun, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let told = (&ended, &begun, &answered);
    let (client, ready) = (world.client(&name), &puts);
    let (done, became) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(client, ready, pause, told));
        // It ends with this thread, also where that fails.
        let _end = End(&ended);
        while answered.load(SeqCst) < BEGUN && !writer.is_finished() {
            std::thread::yield_now();
        }
        let done = something(world, &name, &begun);
        ended.store(true, SeqCst);
        (done, writer.join().unwrap())
    });
    world.tell(format!(
        "{} puts were answered meanwhile",
        became.iter().filter(|became| matches!(became, Became::Answered(_))).count()
    ));
    if world.server.is_none() {
        world.start();
    }
    if matches!(done, Done::Nothing | Done::Exported(_) | Done::BackedUp(..)) {
        assert!(!became.contains(&Became::Refused), "a write was refused beside what must not hold it up");
    }
    reconcile(world, &name, &done, &puts, &became);
    look_into(world, &name, done);
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Puts one after the other until it is ended or the connection breaks.
fn write(
    client: Client,
    puts: &[Put],
    pause: std::time::Duration,
    (ended, begun, answered): (&AtomicBool, &AtomicUsize, &AtomicUsize),
) -> Vec<Became> {
    let mut became = Vec::new();
    for put in puts {
        if ended.load(SeqCst) {
            break;
        }
        std::thread::sleep(pause);
        begun.fetch_add(1, SeqCst);
        match client.post("/items", &json!({"items": [put.to_json()]})) {
            Ok((200, document)) => {
                became.push(Became::Answered(document["seq"].as_u64().unwrap()));
                answered.fetch_add(1, SeqCst);
            }
            Ok((503, problem)) if problem["type"] == "/problems/unknown-outcome" => {
                became.push(Became::Unknown)
            }
            Ok(_) => became.push(Became::Refused),
            Err(_) => {
                became.push(Became::Unknown);
                break;
            }
        }
    }
    became
}

/// What is done beside the writer.
fn something(world: &mut World, name: &str, begun: &AtomicUsize) -> Done {
    match world.random.below(9) {
        0 => {
            world.tell(format!("beside a writer: checkpoints of {name}"));
            for _ in 0..3 {
                fine(world.client(name).post("/checkpoint", &json!({})));
            }
            Done::Nothing
        }
        1 => Done::Exported(copies::export_of(world, name)),
        2 => {
            let (directory, seq) = copies::backup_of(world, name);
            Done::BackedUp(directory, seq)
        }
        3 | 4 => {
            let exported = copies::export_of(world, name);
            publish(world, name, &exported);
            Done::Exported(exported)
        }
        5 => of_another_kind(world, name),
        6 => {
            ends::make_again(world, name);
            Done::MadeAgain(begun.load(SeqCst))
        }
        kind => {
            world.tell(format!("beside a writer: {}", if kind == 7 { "kill" } else { "stop" }));
            world.stop(kind == 7);
            Done::Stopped
        }
    }
}

/// A build of its own export takes over, or comes too late where the log is not kept.
fn publish(world: &mut World, name: &str, exported: &Exported) {
    world.tell(format!("beside a writer: build {} into {name}", exported.file));
    let built =
        shortlist(["build", "--export", &exported.file, "--out", &world.place(name), "--allow-empty"]);
    match built.ok || world.retains {
        true => drop(built.success()),
        false => return drop(built.failure(&["export again"])),
    }
    await_build(world, name);
}

/// A build of other vectors, said to be the collection as of its last record: it must not take the place of what is written after that.
fn of_another_kind(world: &mut World, name: &str) -> Done {
    let mut kind = world.kept[name].kind.clone();
    kind.dimension = 10 - kind.dimension;
    let (mut args, state) = copies::files(world, &kind);
    let now = fine(world.client(name).get(""));
    let (seq, uuid) = (now["seq"].as_u64().unwrap(), now["uuid"].as_str().unwrap());
    world.tell(format!("beside a writer: build files, {kind:?}, into {name}, said to cover {seq}"));
    let flags = ["--out", &world.place(name), "--collection-uuid", uuid, "--covers", &seq.to_string()];
    args.extend(flags.map(str::to_owned));
    let built = shortlist(&args);
    if !built.ok {
        built.failure(&[]);
        return Done::Nothing;
    }
    await_build(world, name);
    Done::Published(kind, state, seq)
}

/// Enters into the map what the writer was answered, and what came of what was not answered.
fn reconcile(world: &mut World, name: &str, done: &Done, puts: &[Put], became: &[Became]) {
    let found = check::now(world, name);
    let dimension = fine(world.client(name).get(""))["schema"]["dimension"].as_u64().unwrap() as usize;
    let kept = world.kept.get_mut(name).unwrap();
    let mut from = 0;
    if let Done::MadeAgain(begun) = done {
        from = first_of_the_new(became, *begun, found.seq);
        *kept = Kept::new(kept.kind.clone(), None, 0, State::default());
    }
    if let Done::Published(kind, state, covers) = done
        && dimension != kept.kind.dimension
    {
        let lost = became.iter().find(|became| matches!(became, Became::Answered(seq) if seq > covers));
        assert_eq!(lost, None, "was answered, and other vectors took its place, which cover {covers}");
        let uuid = kept.uuid.clone();
        return copies::replaced(world, name, Kept::new(kind.clone(), uuid, *covers, state.clone()));
    }
    for (put, became) in puts.iter().zip(became).skip(from) {
        match became {
            Became::Answered(seq) => {
                kept.state.put(put);
                kept.written(*seq);
            }
            Became::Unknown
                if found.state.items.get(&put.id).is_some_and(|item| item.vector == put.vector) =>
            {
                kept.state.put(put);
            }
            _ => {}
        }
    }
    check::learn(name, kept, found);
}

/// The first put of the collection that was made again: numbers begin anew with it. Whatever was answered before went with the old one.
fn first_of_the_new(became: &[Became], begun: usize, seq: u64) -> usize {
    let first = became.iter().rposition(|became| *became == Became::Answered(1)).filter(|_| seq > 0);
    let after = became.iter().skip(begun).position(|became| matches!(became, Became::Answered(_)));
    let first = first.unwrap_or(became.len());
    assert!(
        after.is_none_or(|after| first <= begun + after),
        "what was answered after it was made again is not there"
    );
    first
}

/// A copy that was made beside the writer is of one moment.
fn look_into(world: &mut World, name: &str, done: Done) {
    match done {
        Done::Exported(exported) => {
            check::same(&exported.file, &exported.state, &world.kept[name].at(exported.seq).unwrap());
            world.keep_export(exported);
        }
        Done::BackedUp(directory, seq) => {
            let kept = &world.kept[name];
            let backup = BackedUp {
                directory,
                name: name.to_owned(),
                kind: kept.kind.clone(),
                seq,
                state: kept.at(seq).unwrap(),
            };
            copies::restore_elsewhere(world, &backup);
            world.keep_backup(backup);
        }
        _ => {}
    }
}
