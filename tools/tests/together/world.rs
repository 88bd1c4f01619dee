//! The data directory, the server on it, what it must hold, and what has been done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Random;
use super::common::Shop;
use super::house::{Client, Server, serve};
use super::model::{Kept, Kind, State};

/// Names that collections may have.
pub const NAMES: [&str; 3] = ["live", "copy", "again"];
/// Exports and backups that are kept for later steps.
const KEPT: usize = 4;

/// A file that `shortlist export` wrote, and what is in it.
#[derive(Debug, Clone)]
pub struct Exported {
    pub file: String,
    pub kind: Kind,
    pub uuid: String,
    pub seq: u64,
    pub state: State,
}

/// A directory that `shortlist backup` wrote, and what is in it.
#[derive(Debug, Clone)]
pub struct BackedUp {
    pub directory: String,
    pub name: String,
    pub kind: Kind,
    pub seq: u64,
    pub state: State,
}

pub struct World {
    pub seed: u64,
    pub random: Random,
    pub shop: Shop,
    /// None while it is stopped.
    pub server: Option<Server>,
    flags: Vec<String>,
    /// By name.
    pub kept: BTreeMap<String, Kept>,
    pub exports: Vec<Exported>,
    pub backups: Vec<BackedUp>,
    /// Whether the log is kept for builds from older exports.
    pub retains: bool,
    /// What was done.
    pub told: Vec<String>,
    numbers: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let shop = Shop::new();
        std::fs::create_dir(shop.path("data")).unwrap();
        let retains = !random.once_in(3);
        let mut flags = vec!["--segment-bytes".to_owned(), random.pick(&["1K", "4K", "64M"]).to_owned()];
        if !retains {
            flags.extend(["--log-retention".to_owned(), "0s".to_owned()]);
        }
        flags.extend(["--checkpoint-bytes".to_owned(), random.pick(&["8K", "256M"]).to_owned()]);
        flags.extend(["--reopen-share".to_owned(), random.pick(&["0.01", "0.25", "1"]).to_owned()]);
        let mut world = World {
            seed,
            random,
            shop,
            server: None,
            flags,
            kept: BTreeMap::new(),
            exports: Vec::new(),
            backups: Vec::new(),
            retains,
            told: Vec::new(),
            numbers: 0,
        };
        world.tell(format!("serve {}", world.flags.join(" ")));
        world.start();
        world
    }

    /// Notes what is done, before it is done.
    pub fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// Starts the server, which must come up with everything.
    pub fn start(&mut self) {
        match self.try_start() {
            Ok(server) => self.server = Some(server),
            Err(said) => panic!("the server does not start: {said}"),
        }
    }

    pub fn try_start(&self) -> Result<Server, String> {
        let data = self.shop.path("data");
        Server::try_start(serve(&data).args(&self.flags), &data)
    }

    /// Stops it, as an operator does or as a crash does.
    pub fn stop(&mut self, kill: bool) {
        if let Some(mut server) = self.server.take() {
            if kill { server.kill() } else { server.stop() }
        }
    }

    pub fn client(&self, name: &str) -> Client {
        Client::of(&self.server.as_ref().expect("it runs").address, name)
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.server.as_ref().expect("it runs").address)
    }

    /// Where a collection's copy is taken from: the server, or the directory while it is stopped.
    pub fn source(&self, name: &str) -> String {
        if self.server.is_some() { self.url(name) } else { self.place(name) }
    }

    /// A collection's directory.
    pub fn place(&self, name: &str) -> String {
        self.shop.arg(&format!("data/{name}"))
    }

    /// Whether a collection was written to: it has a log.
    pub fn has_log(&self, name: &str) -> bool {
        self.shop.path("data").join(name).join("log").is_dir()
    }

    /// What the server has under a name, if it has anything.
    pub fn served(&self, name: &str) -> Option<Kept> {
        let served = self.server.is_some() && self.client(name).get("").unwrap().0 == 200;
        self.kept.get(name).filter(|_| served).cloned()
    }

    /// When what answers was published, as the server says.
    pub fn served_since(&self, name: &str) -> Option<Value> {
        let (status, document) = self.client(name).get("/stats").unwrap();
        (status == 200).then(|| document["published_at"].clone())
    }

    /// When what shall answer was published, as the directory says.
    pub fn published_at(&self, name: &str) -> Option<Value> {
        self.manifest(name).map(|manifest| manifest["published_at"].clone())
    }

    pub fn manifest(&self, name: &str) -> Option<Value> {
        let bytes = std::fs::read(self.shop.path("data").join(name).join("manifest.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub fn a_name(&mut self) -> String {
        self.random.pick(&NAMES).to_owned()
    }

    /// A collection that there is.
    pub fn a_collection(&mut self) -> Option<String> {
        let names: Vec<String> = self.kept.keys().cloned().collect();
        (!names.is_empty()).then(|| self.random.pick(&names))
    }

    /// A path that was never given before.
    pub fn new_path(&mut self, what: &str) -> String {
        self.numbers += 1;
        self.shop.arg(&what.replace('#', &self.numbers.to_string()))
    }

    /// A number that was never given before.
    pub fn new_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn keep_export(&mut self, exported: Exported) {
        self.exports.push(exported);
        if self.exports.len() > KEPT {
            let old = self.exports.remove(0);
            let _ = std::fs::remove_file(old.file);
        }
    }

    pub fn keep_backup(&mut self, backup: BackedUp) {
        self.backups.push(backup);
        if self.backups.len() > KEPT {
            let old = self.backups.remove(0);
            let _ = std::fs::remove_dir_all(old.directory);
        }
    }

    /// Ends without a failure.
    pub fn end(mut self) {
        self.stop(false);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = self.told.join("\n  ");
            println!("TOGETHER_SEED={}, after {} steps:\n  {told}", self.seed, self.told.len());
            if let Some(directory) = std::env::var_os("TOGETHER_KEEP") {
                let _ = std::process::Command::new("cp")
                    .arg("-r")
                    .arg(self.shop.dir.path())
                    .arg(directory)
                    .status();
            }
        }
    }
}

/// A collection's directory in any data directory.
pub fn of(data: &str, name: &str) -> String {
    PathBuf::from(data).join(name).display().to_string()
}
