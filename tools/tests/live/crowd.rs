//! Many writers and searchers at work on one server, and what is told of them at the end.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::check::Verdict;
use crate::house::{Client, Server, schema};
use crate::percentile;
use crate::searcher::Searcher;
use crate::writer::{DIMENSION, Writer};

/// Writers and searchers, over any number of lives of a server.
pub struct Crowd {
    pub writers: Vec<Writer>,
    pub searchers: Vec<Searcher>,
}

impl Crowd {
    pub fn new(writers: u64, searchers: u64) -> Crowd {
        Crowd {
            writers: (0..writers).map(Writer::new).collect(),
            searchers: (0..searchers).map(Searcher::new).collect(),
        }
    }

    /// Lets all of them work until `end` has ended the server. What breaks before `ending` is set is a fault.
    pub fn live(&mut self, server: &mut Server, ending: &AtomicBool, end: impl FnOnce(&mut Server)) {
        self.live_until_cut(server, ending, &AtomicBool::new(false), end);
    }

    /// The same; what is answered after `cut` is set counts as not answered.
    pub fn live_until_cut(
        &mut self,
        server: &mut Server,
        ending: &AtomicBool,
        cut: &AtomicBool,
        end: impl FnOnce(&mut Server),
    ) {
        let address = server.address.clone();
        std::thread::scope(|scope| {
            for writer in &mut self.writers {
                let client = Client::new(&address);
                scope.spawn(move || writer.run(&client, ending, cut));
            }
            for searcher in &mut self.searchers {
                let client = Client::new(&address);
                scope.spawn(move || searcher.run(&client, ending));
            }
            end(server);
        });
    }

    /// Prints what happened, and fails if any of it should not have.
    pub fn report(&self, kills: &str, verdict: &Verdict, recoveries: &mut [Duration]) {
        let acknowledged: usize = self.writers.iter().map(|writer| writer.acknowledged).sum();
        let refused: usize = self.writers.iter().map(|writer| writer.refused).sum();
        let searches: usize = self.searchers.iter().map(|searcher| searcher.answers).sum();
        let surprises: Vec<_> = self.writers.iter().flat_map(|writer| &writer.surprises).collect();
        let errors: Vec<_> = self.searchers.iter().flat_map(|searcher| &searcher.errors).collect();
        let Verdict { lost, phantoms, half, open, happened, .. } = verdict;
        println!(
            "{kills}: {acknowledged} writes acknowledged, {refused} refused, {open} unanswered \
             of which {happened} had happened; lost {lost}, phantoms {phantoms}, half-applied {half}; \
             {searches} searches, {} errors; spawn to ready p50 {:.0} ms, p99 {:.0} ms",
            errors.len(),
            percentile(recoveries, 0.5),
            percentile(recoveries, 0.99)
        );
        verdict.must_be_clean();
        assert!(surprises.is_empty(), "answers to writers: {surprises:#?}");
        assert!(errors.is_empty(), "answers to searchers: {errors:#?}");
        assert!(acknowledged >= recoveries.len() && refused <= acknowledged, "too little was written");
    }
}

/// Makes the collection `live`.
pub fn create(client: &Client) {
    let (status, document) = client.put("", &schema(DIMENSION)).unwrap();
    assert_eq!(status, 201, "{document}");
}
