//! Collections that are made and deleted, servers that end and start, logs that are looked into and cut.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::common::{program, shortlist};
use super::house::fine;
use super::model::{Kept, State};
use super::world::World;
use super::{check, copies};

/// Makes a collection, or asks for one that is there.
pub fn make(world: &mut World) {
    let name = world.a_name();
    let Some(kept) = world.kept.get(&name).cloned() else { return copies::make_new(world, &name) };
    let kind = copies::a_kind(world);
    world.tell(format!("put {name}, which is there, {kind:?}"));
    let (status, problem) = world.client(&name).put("", &kind.schema()).unwrap();
    assert_eq!(status, if kind == kept.kind { 200 } else { 409 }, "{problem}");
}

/// Deletes a collection, and as a rule makes it again.
pub fn remove(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    world.tell(format!("delete {name}"));
    fine(world.client(&name).delete(""));
    world.kept.remove(&name);
    if !world.random.once_in(3) {
        copies::make_new(world, &name);
    }
}

/// Deletes a collection and makes it again while a build is published into it: it ends as one or the other, whole.
pub fn make_beside_a_build(world: &mut World) {
    let Some(name) = world.a_collection().filter(|_| !world.exports.is_empty()) else { return };
    let exported = world.random.pick(&world.exports.clone());
    let kind = copies::a_kind(world);
    let wait = Duration::from_millis(world.random.below(40));
    world.tell(format!(
        "build {} into {name}; delete it meanwhile, and make it again, {kind:?}",
        exported.file
    ));
    let place = world.place(&name);
    let mut build = program();
    build.args(["build", "--export", &exported.file, "--out", &place, "--allow-empty"]);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(wait);
    fine(world.client(&name).delete(""));
    let (status, problem) = world.client(&name).put("", &kind.schema()).unwrap();
    assert!([200, 201, 409].contains(&status), "{status}: {problem}");
    world.tell(format!("the build ends with {}", build.wait().unwrap()));
    copies::await_build(world, &name);

    let found = check::now(world, &name);
    let made = Kept::new(kind, None, 0, State::default());
    let built = Kept::new(exported.kind, None, exported.seq, exported.state);
    let is = |kept: &Kept| check::is(world, &name, &found, kept);
    let Some(mut kept) = [made, built].into_iter().find(is) else {
        panic!("{name} is neither what was made nor what was built: {:?}", found.state);
    };
    kept.may_differ = true;
    world.kept.insert(name, kept);
    world.kept.values_mut().for_each(|kept| kept.may_differ |= kept.uuid.as_ref() == Some(&exported.uuid));
}

/// Ends the server one way or the other, does this and that while nobody serves, and starts it.
pub fn restart(world: &mut World) {
    let kill = world.random.once_in(2);
    world.tell(if kill { "kill" } else { "stop" });
    world.stop(kill);
    for _ in 0..world.random.below(3) {
        match world.random.below(7) {
            0 => copies::export(world),
            1 => copies::back_up(world),
            2 => copies::publish(world),
            3 => copies::publish_files(world),
            4 => copies::restore(world),
            5 => verify(world),
            _ => truncate(world),
        }
    }
    world.tell("start");
    world.start();
}

/// Every byte of a collection's index file, and of its log.
fn verify(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    world.tell(format!("inspect {name}"));
    shortlist(["inspect", "--verify", "--json", &world.place(&name)]).success();
    if world.has_log(&name) {
        for segment in segments(world, &name) {
            let torn = segment["damage"].is_null() || segment["damage"]["torn"] == true;
            assert!(torn, "{segment}");
        }
    }
}

fn segments(world: &World, name: &str) -> Vec<Value> {
    let segments = shortlist(["log", "inspect", "--json", &world.place(name)]).json();
    segments.as_array().unwrap().clone()
}

/// Gives up what the log has from somewhere on. What the index file has stays.
fn truncate(world: &mut World) {
    let Some(name) = world.a_collection().filter(|name| world.has_log(name)) else { return };
    let segments = segments(world, &name);
    if segments.is_empty() {
        return;
    }
    let segment = world.random.pick(&segments);
    let (file, bytes) = (segment["file"].as_str().unwrap(), segment["bytes"].as_u64().unwrap());
    let at = world.random.below(bytes + 1).to_string();
    let place = world.place(&name);
    let covers = world.manifest(&name).unwrap()["covers"].as_u64().unwrap();
    world.tell(format!("truncate {file} of {name}, which has {bytes} bytes, at {at}; {covers} is covered"));
    shortlist(["log", "truncate", &place, "--file", file, "--at", &at]).success();
    let left = self::segments(world, &name);
    let last = left.last().map_or(0, |segment| segment["last"].as_u64().unwrap());
    let kept = world.kept.get_mut(&name).unwrap();
    // What came by itself since, an expired item that went, is not known here.
    let seq = last.max(covers).min(kept.seq);
    world.tell(format!("{name} is at {seq} now"));
    let kept = world.kept.get_mut(&name).unwrap();
    kept.go_back(seq);
    kept.may_differ = true;
}

/// Whoever would write to a directory that is served is refused.
pub fn intrude(world: &mut World) {
    let what = world.random.below(4);
    if what == 0 {
        world.tell("a second server");
        let said = world.try_start().err().expect("it must not start");
        assert!(said.contains("serve.lock"), "{said}");
        return;
    }
    let Some(name) = world.a_collection() else { return };
    let (place, out) = (world.place(&name), world.new_path("intruder-#"));
    world.tell(format!("an intruder of kind {what} on {name}"));
    match what {
        1 => drop(shortlist(["export", &place, "--out", &out]).failure(&["serve.lock"])),
        2 => drop(shortlist(["backup", &place, "--out", &out]).failure(&["serve.lock"])),
        _ if world.has_log(&name) => {
            let segments = segments(world, &name);
            let Some(file) = segments.last().map(|last| last["file"].as_str().unwrap()) else { return };
            drop(
                shortlist(["log", "truncate", &place, "--file", file, "--at", "0"]).failure(&["serve.lock"]),
            );
        }
        _ => {}
    }
}

/// Deletes and makes a collection while somebody writes to it: see `beside`.
pub fn make_again(world: &mut World, name: &str) {
    world.tell(format!("delete {name} and make it again"));
    fine(world.client(name).delete(""));
    let (status, problem) = world.client(name).put("", &world.kept[name].kind.schema()).unwrap();
    assert_eq!(status, 201, "{problem}");
}
