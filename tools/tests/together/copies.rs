//! Exports, builds that are published, imports, backups and what is restored from them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::{self, parse, same};
use super::common::{Ran, npy, shortlist};
use super::house::fine;
use super::model::{Kept, Kind, Put, State, attributes};
use super::world::{BackedUp, Exported, World, of};
use super::writes::a_put;

/// How long a server may take to see what was published.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn a_kind(world: &mut World) -> Kind {
    Kind { dimension: world.random.pick(&[4, 6]), metric: world.random.pick(&["l2", "dot", "cosine"]) }
}

/// Of the server, or of the directory while it is stopped.
pub fn export(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let exported = export_of(world, &name);
    same(&exported.file, &exported.state, &world.kept[&name].state);
    world.keep_export(exported);
}

/// Exports a collection; what is in the file.
pub fn export_of(world: &mut World, name: &str) -> Exported {
    let file = world.new_path("export-#.jsonl");
    world.tell(format!("export {name} to {file}"));
    shortlist(["export", &world.source(name), "--out", &file]).success();
    let found = parse(&std::fs::read_to_string(&file).unwrap());
    let kind = world.kept[name].kind.clone();
    Exported { file, kind, uuid: found.uuid, seq: found.seq, state: found.state }
}

/// Builds an export and publishes it, in its own collection or another. What becomes of it at once is drawn, too.
pub fn publish(world: &mut World) {
    if world.exports.is_empty() {
        return export(world);
    }
    let exported = world.random.pick(&world.exports.clone());
    let owner = world.kept.iter().find(|(_, kept)| kept.uuid.as_ref() == Some(&exported.uuid));
    let owner = owner.map(|(name, _)| name.clone());
    let name = match owner.filter(|_| !world.random.once_in(4)) {
        Some(name) => name,
        None => world.a_name(),
    };
    let old = world.served(&name);
    world.tell(format!("build {} (seq {}) into {name}", exported.file, exported.seq));
    let built =
        shortlist(["build", "--export", &exported.file, "--out", &world.place(&name), "--allow-empty"]);
    let accepted = expect(world, &name, &exported, built);
    afterwards(world, &name, accepted, old);
}

/// What the documents promise of a build from an export; whether it was accepted.
fn expect(world: &mut World, name: &str, exported: &Exported, built: Ran) -> bool {
    let Exported { kind, uuid, seq, state, .. } = exported.clone();
    let written = world.has_log(name);
    let Some(kept) = world.kept.get_mut(name) else {
        built.success();
        // From now on there may be two of this UUID.
        world.kept.insert(name.to_owned(), Kept::new(kind, Some(uuid.clone()), seq, state));
        let twins = world.kept.values_mut().filter(|kept| kept.uuid.as_ref() == Some(&uuid));
        twins.for_each(|twin| twin.may_differ = true);
        return true;
    };
    if !written {
        built.success();
        let own = kept.uuid.clone();
        replaced(world, name, Kept::new(kind, own, seq, state));
        return true;
    }
    if kept.uuid.as_ref() != Some(&uuid) {
        built.failure(&["was written to", "log belongs to collection"]);
        return false;
    }
    // The same collection at another time: what is there stays, whether it takes over or comes too late.
    let was = kept.at(seq).filter(|_| seq <= kept.seq);
    let is_of_this_log = was.is_some_and(|was| check::difference(&state, &was).is_none());
    assert!(is_of_this_log || !built.ok, "a build of another history was published: {}", built.out);
    let must = world.retains && is_of_this_log && !kept.may_differ;
    assert!(built.ok || !must, "a build of {name} is refused: {}", built.err);
    let accepted = built.ok;
    if !accepted {
        built.failure(&[]);
    }
    accepted
}

/// A collection was replaced whole: exports of what it was go on with no log.
pub fn replaced(world: &mut World, name: &str, kept: Kept) {
    let uuid = kept.uuid.clone();
    world.exports.retain(|exported| Some(&exported.uuid) != uuid.as_ref());
    world.kept.insert(name.to_owned(), kept);
}

/// What comes right behind a publication, before the server has seen it; `old` is what it serves until then.
fn afterwards(world: &mut World, name: &str, accepted: bool, old: Option<Kept>) {
    if world.server.is_none() || !world.kept.contains_key(name) {
        return;
    }
    match (world.random.below(8), old) {
        (kind @ (0 | 1), _) => {
            world.tell(if kind == 0 { "kill right behind it" } else { "restart right behind it" });
            world.stop(kind == 0);
            world.start();
        }
        (2, Some(_)) => {
            world.tell(format!("checkpoint of {name} right behind it"));
            let (status, problem) = world.client(name).post("/checkpoint", &json!({})).unwrap();
            assert!(status == 200 || status >= 409, "{status}: {problem}");
        }
        (3, Some(_)) => {
            world.tell(format!("delete {name} right behind it and make it again"));
            fine(world.client(name).delete(""));
            world.kept.remove(name);
            return make_new(world, name);
        }
        (4, old) => {
            world.tell(format!("put {name} right behind it"));
            let schema = world.kept[name].kind.schema();
            let (status, problem) = world.client(name).put("", &schema).unwrap();
            assert!(status == 200 || (old.is_some() && status == 409), "{status}: {problem}");
        }
        (5 | 6, Some(old)) => return put_behind(world, name, old),
        _ => {}
    }
    if accepted {
        await_build(world, name);
    }
}

/// An item that is put right behind a publication, as what was there takes it. It stays: with what was published, or, where that cannot
/// take it, with what was there.
fn put_behind(world: &mut World, name: &str, mut old: Kept) {
    let id = format!("p{}", world.new_number());
    let put = a_put(world, id, old.kind.dimension);
    world.tell(format!("put {} into {name} right behind it", put.id));
    let (status, answer) = world.client(name).post("/items", &json!({"items": [put.to_json()]})).unwrap();
    await_build(world, name);
    if status != 200 {
        return;
    }
    let (found, seq) = (check::now(world, name), answer["seq"].as_u64().unwrap());
    world.kept.get_mut(name).unwrap().state.put(&put);
    old.state.put(&put);
    if !check::is(world, name, &found, &world.kept[name]) && check::is(world, name, &found, &old) {
        world.tell(format!("{name} is what it was"));
        world.kept.insert(name.to_owned(), old);
    }
    world.kept.get_mut(name).unwrap().written(seq);
}

/// Waits until what was published answers, or was put back.
pub fn await_build(world: &World, name: &str) {
    let since = Instant::now();
    while world.published_at(name) != world.served_since(name) {
        assert!(since.elapsed() < PATIENCE, "what was published as {name} is not taken up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a collection that is not there.
pub fn make_new(world: &mut World, name: &str) {
    let kind = a_kind(world);
    world.tell(format!("make {name}, {kind:?}"));
    let (status, document) = world.client(name).put("", &kind.schema()).unwrap();
    assert_eq!(status, 201, "{document}");
    world.kept.insert(name.to_owned(), Kept::new(kind, None, 0, State::default()));
}

/// Files of vectors and items; the arguments that build them, and what is in them.
pub fn files(world: &mut World, kind: &Kind) -> (Vec<String>, State) {
    let puts: Vec<Put> = (0..1 + world.random.below(30))
        .map(|n| {
            let mut put = a_put(world, format!("i{}", 2 * n), kind.dimension);
            put.attributes.entry("price").or_insert(json!(0.0));
            (put.version, put.inserted_at) = (None, None);
            put
        })
        .collect();
    let mut state = State::default();
    for put in &puts {
        state.put(put);
    }
    let line = |put: &Put| {
        let mut line = Value::Object(put.attributes.clone());
        line["id"] = json!(put.id);
        format!("{line}\n")
    };
    let (vectors, items) = (world.new_path("vectors-#.npy"), world.new_path("items-#.jsonl"));
    std::fs::write(&vectors, npy(&puts.iter().map(|put| put.vector.clone()).collect::<Vec<_>>())).unwrap();
    std::fs::write(&items, puts.iter().map(line).collect::<String>()).unwrap();
    let schema = world.new_path("schema-#.json");
    std::fs::write(&schema, json!({"metric": kind.metric, "attributes": attributes()}).to_string()).unwrap();
    let args = ["build", "--vectors", &vectors, "--items", &items, "--schema", &schema];
    (args.map(str::to_owned).to_vec(), state)
}

/// Builds files and publishes them: where nothing was written, they take the place of what was there; else they are refused, unless
/// the operator says that they are the collection as of its last record.
pub fn publish_files(world: &mut World) {
    let (name, kind) = (world.a_name(), a_kind(world));
    let (mut args, state) = files(world, &kind);
    args.extend(["--out".to_owned(), world.place(&name)]);
    let kept = world.kept.get(&name).cloned();
    let written = kept.as_ref().filter(|_| world.has_log(&name)).cloned();
    let says = written.as_ref().filter(|_| world.random.once_in(2)).cloned();
    let mut seq = 0;
    if let Some(kept) = &says {
        seq = kept.seq;
        args.extend(["--covers".to_owned(), seq.to_string()]);
        args.extend(["--collection-uuid".to_owned(), kept.uuid.clone().unwrap()]);
    }
    let old = world.served(&name);
    world.tell(format!("build files, {kind:?}, into {name}, {}", args[7..].join(" ")));
    let built = shortlist(&args);
    if written.is_some() && says.is_none() {
        built.failure(&["was written to"]);
        return afterwards(world, &name, false, old);
    }
    if says.is_some() && !built.ok {
        // Something has expired meanwhile.
        built.failure(&["vectors are"]);
        return afterwards(world, &name, false, old);
    }
    built.success();
    let uuid = kept.and_then(|kept| kept.uuid);
    replaced(world, &name, Kept::new(kind, uuid, seq, state));
    afterwards(world, &name, true, old);
}

/// Imports an export into a collection of any name.
pub fn import(world: &mut World) {
    if world.exports.is_empty() {
        return export(world);
    }
    let (exported, name) = (world.random.pick(&world.exports.clone()), world.a_name());
    world.tell(format!("import {} into {name}", exported.file));
    let ran = shortlist(["import", &world.url(&name), "--export", &exported.file]);
    if world.kept.get(&name).is_some_and(|kept| kept.kind != exported.kind) {
        ran.failure(&["another schema"]);
        return;
    }
    ran.success();
    let kept = world.kept.entry(name.clone());
    let kept = kept.or_insert_with(|| Kept::new(exported.kind.clone(), None, 0, State::default()));
    for (id, item) in exported.state.items.clone() {
        let version = (item.version > 0).then_some(item.version);
        let put = Put {
            id,
            vector: item.vector,
            attributes: item.attributes,
            version,
            inserted_at: item.inserted_at,
        };
        kept.state.put(&put);
    }
    let seq = fine(world.client(&name).get(""))["seq"].as_u64().unwrap();
    world.kept.get_mut(&name).unwrap().written(seq);
}

/// A backup of the server, or of the directory while it is stopped.
pub fn back_up(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let (directory, seq) = backup_of(world, &name);
    let kept = &world.kept[&name];
    assert!(seq >= kept.seq, "the backup has {seq}, {} was answered", kept.seq);
    let (kind, state) = (kept.kind.clone(), kept.state.clone());
    world.keep_backup(BackedUp { directory, name, kind, seq, state });
}

/// Makes one; where it is, and its sequence number.
pub fn backup_of(world: &mut World, name: &str) -> (String, u64) {
    let directory = world.new_path("backup-#");
    world.tell(format!("backup of {name} to {directory}"));
    let said = shortlist(["backup", &world.source(name), "--out", &directory]).success();
    (directory, said.trim().rsplit(' ').next().unwrap().parse().unwrap())
}

/// Restores a backup: elsewhere, or beside what is there.
pub fn restore(world: &mut World) {
    if world.backups.is_empty() {
        return back_up(world);
    }
    let backup = world.random.pick(&world.backups.clone());
    if world.random.once_in(2) {
        return restore_elsewhere(world, &backup);
    }
    let name = world.a_name();
    world.tell(format!("restore {} as {name}", backup.directory));
    let data = world.shop.arg("data");
    let ran = shortlist(["restore", &backup.directory, "--data", &data, "--name", &name]);
    if world.kept.contains_key(&name) {
        ran.failure(&["is there already"]);
        return;
    }
    ran.success();
    let BackedUp { kind, seq, state, .. } = backup;
    world.kept.insert(name.clone(), Kept::new(kind, None, seq, state));
    afterwards(world, &name, true, None);
}

/// Restores into a directory of its own, and looks whether it has what it should.
pub fn restore_elsewhere(world: &mut World, backup: &BackedUp) {
    let data = world.new_path("elsewhere-#");
    world.tell(format!("restore {} into {data}", backup.directory));
    shortlist(["restore", &backup.directory, "--data", &data]).success();
    let file = world.new_path("restored-#.jsonl");
    shortlist(["export", &of(&data, &backup.name), "--out", &file]).success();
    let found = check::parse(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(found.seq, backup.seq, "{data}");
    same(&data, &found.state, &backup.state);
    let uuids: Vec<_> = world.kept.values().map(|kept| kept.uuid.clone()).collect();
    assert!(!uuids.contains(&Some(found.uuid)), "a restored collection is a new one");
    std::fs::remove_dir_all(&data).unwrap();
}
