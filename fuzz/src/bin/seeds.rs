//! Writes the seeds of all targets to `corpus/<target>/`, which is where the fuzzer looks for them.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, _, seeds) in shortlist_fuzz::TARGETS {
        let directory = corpus.join(name);
        std::fs::create_dir_all(&directory)?;
        let seeds = seeds();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number:03}")), seed)?;
        }
        println!("{name}: {} seeds", seeds.len());
    }
    Ok(())
}
