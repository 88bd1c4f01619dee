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

fn count_of(register: &Register, state: &State, id: &str) -> u64 {
    let number = register.numbers().find(id);
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
        let seen = (count_of(&register, &state, "a"), count_of(&register, &state, "b"));
        assert_eq!(seen, (of_a, of_b), "at {seq}");
    }
    assert_eq!(count_of(&register, &before, "a"), 1);
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
    assert_eq!(count_of(&register, &register.at(1).unwrap(), "a"), 9);
    assert_eq!(count_of(&register, &register.newest(), "a"), 0);
    register.apply(&[(3, note(&counts("a", 2, "e2")))]).unwrap();
    assert_eq!(count_of(&register, &register.newest(), "a"), 2);
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
        assert_eq!(count_of(register, &state, "a"), 4);
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
    assert_eq!(count_of(&read, &read.newest(), "lost"), 0);
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
