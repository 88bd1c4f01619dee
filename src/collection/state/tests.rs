//! States of moments, their bytes, and what a replay makes of them.

use serde_json::json;

use super::*;
use crate::index::Change;

fn note(note: &Note) -> Vec<Change> {
    vec![Change::State(serde_json::to_vec(note).unwrap())]
}

fn counts(id: &str, impressions: u64, event: &str) -> Note {
    let counts = Counts { impressions, value: 0.1, ..Counts::default() };
    Note::Counts {
        counts: vec![(id.to_owned(), counts)],
        events: vec![events::print_key(events::key(event))],
    }
}

fn count_of(state: &State, id: &str) -> u64 {
    let number = state.numbers().find(id);
    number.and_then(|number| state.counters.get(number)).map_or(0, |counts| counts.impressions)
}

fn profile(name: &str, version: u32, limit: u32) -> Note {
    let document = json!({"min": limit}).to_string();
    Note::ProfileVersion { name: name.to_owned(), version, at: 5, document }
}

#[test]
fn a_moment_s_state_stays_what_it_was() {
    let register = Register::default();
    register.apply(&[(3, note(&counts("a", 1, "e1")))]).unwrap();
    let before = register.at(3).unwrap();
    register
        .apply(&[(4, vec![]), (5, note(&counts("a", 2, "e2"))), (7, note(&counts("b", 4, "e3")))])
        .unwrap();
    for (seq, of_a, of_b) in [(3, 1, 0), (4, 1, 0), (5, 3, 0), (6, 3, 0), (7, 3, 4), (900, 3, 4)] {
        let state = register.at(seq).unwrap();
        let seen = (count_of(&state, "a"), count_of(&state, "b"));
        assert_eq!(seen, (of_a, of_b), "at {seq}");
    }
    assert_eq!(count_of(&before, "a"), 1);
    register.apply(&[(8, note(&counts("a", 1, "e4")))]).unwrap();
    assert!(register.at(6).is_none(), "pushed out: the caller reads a newer moment");
    assert_eq!(register.at(7).unwrap().seq, 7);
}

#[test]
fn a_delete_resets_counters() {
    let register = Register::default();
    register.apply(&[(1, note(&counts("a", 9, "e1")))]).unwrap();
    let gone = Change::Delete { id: "a".to_owned(), version: 0, at: 0 };
    register.apply(&[(2, vec![gone])]).unwrap();
    assert_eq!(count_of(&register.at(1).unwrap(), "a"), 9);
    assert_eq!(count_of(&register.newest(), "a"), 0);
    register.apply(&[(3, note(&counts("a", 2, "e2")))]).unwrap();
    assert_eq!(count_of(&register.newest(), "a"), 2);
}

fn filled() -> Register {
    let register = Register::default();
    let set = |name: &str, ids: &[&str], expires_at: i64| Note::Set {
        name: name.to_owned(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        expires_at,
        at: 50_000,
    };
    let change = Note::SetChange {
        name: "seen".to_owned(),
        add: vec!["z".to_owned()],
        remove: vec!["x".to_owned()],
        expires_at: None,
        at: 50_001,
    };
    let notes = [
        profile("home", 1, 1),
        profile("home", 2, 2),
        Note::ActiveProfile { name: "home".to_owned(), version: 2 },
        profile("gone", 1, 1),
        Note::NoProfile { name: "gone".to_owned(), last: 1 },
        set("seen", &["x", "y"], 100_000),
        set("old", &["x"], 70_000),
        change,
        counts("a", 3, "e1"),
        counts("lost", 3, "e2"),
    ];
    let records: Vec<_> = (1..).zip(notes.iter().map(note)).collect();
    register.apply(&records).unwrap();
    register
}

#[test]
fn the_state_survives_as_bytes_and_replays_go_on() {
    let register = filled();
    let bytes = register.to_bytes(&register.kept(), 0, &|id| id != "lost");
    let read = Register::default();
    read.read(&bytes).unwrap();
    // What it has already is passed over; what comes later is not.
    for register in [&register, &read] {
        register.apply(&[(6, note(&counts("a", 50, "e1"))), (11, note(&counts("a", 1, "e9")))]).unwrap();
        let state = register.newest();
        assert_eq!(count_of(&state, "a"), 4);
        let home = state.profiles.get("home").unwrap();
        assert_eq!((home.active, home.versions.len()), (2, 2));
        assert_eq!(home.version(2).unwrap().document, json!({"min": 2}));
        assert!(state.profiles.get("gone").is_none());
        assert_eq!(state.profiles.next("gone"), 2, "a number never means two documents");
        let seen = state.sets.get("seen").unwrap();
        assert!(seen.contains("y") && seen.contains("z") && !seen.contains("x"));
        assert_eq!((seen.len(), seen.expires_at, state.sets.len()), (2, 100_000, 2));
        assert!(register.seen().contains(events::key("e1")) && !register.seen().contains(events::key("e5")));
    }
    assert_eq!(count_of(&read.newest(), "lost"), 0);
    assert_eq!(register.newest().sets.bytes(), read.newest().sets.bytes());
    assert_eq!(
        register.to_bytes(&register.kept(), 0, &|id| id != "lost"),
        read.to_bytes(&read.kept(), 0, &|_| true)
    );
    // Sets expire at the same moment here and there.
    for register in [&register, &read] {
        let put = Note::Set { name: "new".to_owned(), ids: vec![], expires_at: 0, at: 80_000 };
        register.apply(&[(12, note(&put))]).unwrap();
        let state = register.newest();
        assert!(state.sets.get("old").is_none() && state.sets.get("seen").is_some());
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let register = filled();
    let bytes = register.to_bytes(&register.kept(), 0, &|_| true);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Register::default().read(&damaged).is_err(), "byte {at}");
        assert!(Register::default().read(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn versions_are_bounded_and_the_active_one_stays() {
    let register = Register::default();
    let versions = profiles::VERSIONS as u32 + 10;
    let records: Vec<_> =
        (1..=versions).map(|version| (u64::from(version), note(&profile("p", version, version)))).collect();
    register.apply(&records).unwrap();
    let state = register.newest();
    let profile = state.profiles.get("p").unwrap();
    assert_eq!((profile.versions.len(), profile.active), (profiles::VERSIONS, 1));
    assert!(
        profile.version(1).is_some() && profile.version(2).is_none() && profile.version(versions).is_some()
    );
}

#[test]
fn differences_have_pointers() {
    let (from, to) =
        (json!({"a": {"b": [1, 2]}, "c/d": 1, "e": 1}), json!({"a": {"b": [1, 3, 4]}, "c/d": 1, "f": 2}));
    let changes = json!(changes_between(&from, &to));
    assert_eq!(
        changes,
        json!([
            {"pointer": "/a/b/1", "from": 2, "to": 3},
            {"pointer": "/a/b/2", "from": null, "to": 4},
            {"pointer": "/e", "from": 1, "to": null},
            {"pointer": "/f", "from": null, "to": 2},
        ])
    );
    assert!(changes_between(&to, &to).is_empty());
}

#[test]
fn counters_cost_a_piece_a_change() {
    let mut counters = Counters::default();
    counters.add(700, &Counts { clicks: 1, ..Counts::default() });
    let before = counters.clone();
    counters.add(700, &Counts { clicks: 2, value: f64::MAX, ..Counts::default() });
    counters.add(700, &Counts { value: f64::MAX, ..Counts::default() });
    assert_eq!(before.get(700).unwrap().clicks, 1);
    assert_eq!((counters.get(700).unwrap().clicks, counters.get(700).unwrap().value), (3, f64::MAX));
    assert!(counters.get(0).is_none() && counters.get(5_000).is_none());
}

/// Items come, are counted and go: the table of their numbers does not grow without end.
#[test]
fn numbers_of_ids_that_are_gone_are_given_up() {
    let register = Register::default();
    register.apply(&[(1, note(&counts("stays", 7, "e")))]).unwrap();
    let mut seq = 1;
    for round in 0..20 {
        let id = |at: u64| format!("i{}", round * 500 + at);
        for at in 0..500 {
            seq += 1;
            register.apply(&[(seq, note(&counts(&id(at), 1, &id(at))))]).unwrap();
        }
        let moment = register.newest();
        seq += 1;
        let gone = (0..500).map(|at| Change::Delete { id: id(at), version: 0, at: 0 }).collect();
        register.apply(&[(seq, gone)]).unwrap();
        assert_eq!(count_of(&moment, &id(3)), 1, "an older moment goes by its own numbers");
        let state = register.newest();
        assert_eq!((count_of(&state, "stays"), count_of(&state, &id(3))), (7, 0));
        assert_eq!(state.counters.counted(), 1);
        assert!(state.numbers().ids.len() <= 2 * FEW_NUMBERS, "{} numbers", state.numbers().ids.len());
    }
}

/// Profiles of ever new names come and go: their names are forgotten, and no number comes twice.
#[test]
fn names_of_deleted_profiles_are_forgotten() {
    let (register, mut seq) = (Register::default(), 0);
    let mut apply = |one: &Note| {
        seq += 1;
        register.apply(&[(seq, note(one))]).unwrap();
    };
    for version in 1..=3 {
        apply(&profile("first", version, version));
    }
    apply(&Note::NoProfile { name: "first".to_owned(), last: 3 });
    for number in 0..2_500 {
        let name = format!("p{number}");
        let version = register.newest().profiles.next(&name);
        apply(&profile(&name, version, 1));
        apply(&Note::NoProfile { name, last: version });
    }
    let read = Register::default();
    read.read(&register.to_bytes(&register.kept(), 0, &|_| true)).unwrap();
    for register in [&register, &read] {
        let state = register.newest();
        assert!(state.profiles.gone().count() <= 1_000);
        for name in ["first", "p0", "p2499", "new"] {
            assert!(state.profiles.next(name) > 3, "{name}: {}", state.profiles.next(name));
        }
    }
}

#[test]
fn sets_differ_by_what_came_and_went() {
    let mut sets = Sets::default();
    let ids = |range: std::ops::Range<u32>| range.map(|id| format!("id-{id}")).collect::<Vec<_>>();
    sets.put("a", ids(0..1_000), 0);
    let before = Arc::clone(sets.get("a").unwrap());
    sets.change("a", ids(1_000..1_003), &ids(5..7), None);
    let after = Arc::clone(sets.get("a").unwrap());
    let sorted = |ids: Vec<&Arc<str>>| {
        let mut ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(sorted(after.beyond(&before).collect()), ids(1_000..1_003));
    assert_eq!(sorted(before.beyond(&after).collect()), ids(5..7));
    assert_eq!(before.beyond(&before).count(), 0);
}

#[test]
fn a_state_ahead_of_its_log_takes_what_comes() {
    let register = Register::default();
    register.apply(&[(1_000, note(&counts("a", 1, "e1")))]).unwrap();
    register.begin_at(2_000);
    assert_eq!(register.newest().seq, 1_000);
    // Its log was lost: the next record is the first.
    register.begin_at(0);
    register.apply(&[(1, note(&counts("a", 2, "e2")))]).unwrap();
    assert_eq!(count_of(&register.newest(), "a"), 3);
}
