//! The house rules that a compiler does not check: layers import upwards only, unsafe code stays in its rooms, links in
//! the documents lead somewhere, and no file is a hall.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer of each module of the library; see the table in src/lib.rs.
const LAYERS: [(&str, u8); 13] = [
    ("arena", 1),
    ("deadline", 1),
    ("priority", 1),
    ("vector", 1),
    ("graph", 2),
    ("attributes", 2),
    ("file", 3),
    ("log", 3),
    ("index", 4),
    ("rank", 5),
    ("eval", 5),
    ("collection", 6),
    ("server", 7),
];

/// Files and folders that may hold unsafe code.
const UNSAFE: [&str; 9] = [
    "src/arena/",
    "src/vector/kernel/avx2.rs",
    "src/vector/kernel/avx512.rs",
    "src/vector/kernel/gather.rs",
    "src/vector/kernel/lanes.rs",
    "src/vector/kernel/mod.rs",
    "src/vector/kernel/neon.rs",
    "src/vector/kernel/step.rs",
    "src/vector/kernel/vnni.rs",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files under a folder with an extension, as paths from the root, sorted.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "cache", "results", "data"].contains(&name.as_str())
                {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Code lines with their numbers: comments and what follows `#[cfg(test)]` left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines());
    lines
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim().starts_with("//"))
}

/// Modules of this crate that a line names, as `crate::name` or inside `use crate::{a::.., b::..}`.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names = rest.strip_prefix('{').map_or(vec![rest], |group| group.split(',').collect());
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn modules_import_only_from_layers_above() {
    let layers: BTreeMap<&str, u8> = LAYERS.into();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files("src", "rs") {
        let module = path.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned();
        let Some(&own) = layers.get(module.as_str()) else {
            assert_eq!(module, "lib", "{path} is in no layer");
            continue;
        };
        for (number, line) in code(&read(&path)) {
            for import in imports(line) {
                let Some(&other) = layers.get(import.as_str()) else { continue };
                seen += 1;
                // Layers 1, 2, 3 and 5 hold several modules each, which do not know each other except as allowed here.
                let sibling = other == own
                    && import != module
                    && (module.as_str(), import.as_str()) != ("vector", "arena");
                // The file format bounds node numbers by the graph's limit, a layer above it.
                if other > own || sibling {
                    wrong.push(format!(
                        "{path}:{number}: {module} (layer {own}) uses {import} (layer {other})"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go backwards:\n{}", wrong.join("\n"));
    assert!(seen > 50, "only {seen} imports seen: does this test still read them?");
}

#[test]
fn axum_and_tokio_stay_in_the_server() {
    for path in files("src", "rs").iter().filter(|path| !path.starts_with("src/server/")) {
        for (number, line) in code(&read(path)) {
            assert!(!line.contains("axum::") && !line.contains("tokio::"), "{path}:{number}: {line}");
        }
    }
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    for path in files("src", "rs").into_iter().chain(files("tools/src", "rs")) {
        if UNSAFE.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        for (number, line) in code(&read(&path)) {
            let allows = line.contains("allow(unsafe_code)")
                || line.contains("unsafe {")
                || line.contains("unsafe fn");
            assert!(!allows, "{path}:{number}: unsafe code outside {UNSAFE:?}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for path in files("src", "rs").into_iter().chain(files("tools/src", "rs")) {
        let text = read(&path);
        assert!(text.starts_with("//!") || text.starts_with("#![doc"), "{path} has no head comment");
        let lines = text.lines().count();
        assert!(lines <= 700, "{path} has {lines} lines: more than one idea?");
    }
}

/// Targets of `[text](target)` and `![text](target)` outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target: String = line[at + 2..].chars().take_while(|&c| c != ')').collect();
            found.push(target);
        }
    }
    found
}

/// The anchor that a heading gets: lower case, spaces to dashes, punctuation dropped.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files("", "md") {
        let folder = Path::new(&path).parent().unwrap().to_owned();
        for link in links(&read(&path)) {
            if link.starts_with("http://") || link.starts_with("https://") || link.starts_with("crate::") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            if !root().join(&target).exists() {
                wrong.push(format!("{path}: {link}"));
            } else if !heading.is_empty() && target.extension().is_some_and(|found| found == "md") {
                let text = fs::read_to_string(root().join(&target)).unwrap();
                if !text.lines().any(|line| line.starts_with('#') && anchor(line) == heading) {
                    wrong.push(format!("{path}: {link} (no such heading)"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    assert!(seen > 10, "only {seen} links seen: does this test still read them?");
}
