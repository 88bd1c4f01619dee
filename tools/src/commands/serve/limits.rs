//! What requests may ask for: the flags of the settings `limits.<name>`.

use std::time::Duration;

use shortlist::collection::SearchLimits;
use shortlist::index::Index;
use shortlist::server::Limits;

use super::bytes;
use crate::commands::number::whole;
use crate::commands::time;

/// Elements of a list, searches of a batch, connections.
const MOST: usize = 10_000_000;
/// Levels that the parser of JSON takes.
const MOST_LEVELS: usize = 128;
/// Longest wait for a client.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What requests may ask for; the API's errors name these settings as `limits.<name>`.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Results of a search
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole(1..=Index::MAX_EF))]
    pub limits_limit: usize,
    /// Candidates of a search
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = whole(1..=Index::MAX_EF))]
    pub limits_candidates: usize,
    /// Width of a search
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = whole(1..=Index::MAX_EF))]
    pub limits_ef: usize,
    /// Ids in `exclude.ids`
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = whole(0..=MOST))]
    pub limits_excluded_ids: usize,
    /// Names in `exclude.sets`
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0..=MOST))]
    pub limits_exclude_sets: usize,
    /// Items in a query's `items`
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = whole(0..=MOST))]
    pub limits_query_items: usize,
    /// Vectors in a query's `vectors`, or items with `best`: each costs a search
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0..=MOST))]
    pub limits_query_vectors: usize,
    /// Ids in a query's `ids`
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole(0..=MOST))]
    pub limits_query_ids: usize,
    /// Queries in a query's `sources`
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole(0..=MOST))]
    pub limits_query_sources: usize,
    /// Ids in `why`
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0..=MOST))]
    pub limits_why: usize,
    /// Levels of JSON in filter, profile and context
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole(1..=MOST_LEVELS))]
    pub limits_json_depth: usize,
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "16M")]
    pub limits_body_bytes: u64,
    /// Searches in a batch
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = whole(1..=MOST))]
    pub limits_batch: usize,
    /// Bytes of a batch's answers after which no more of its searches are answered
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "256M")]
    pub limits_answer_bytes: u64,
    /// Searches that may wait for a thread; more are refused (503)
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = whole(1..=MOST))]
    pub limits_queue: usize,
    /// Exports and backups that are under way at once; more are refused (503)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = whole(1..=MOST))]
    pub limits_copies: usize,
    /// Open connections; more wait
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = whole(1..=MOST))]
    pub limits_connections: usize,
    /// Time for a request's head, from the connection or the answer before; so idle connections are closed after it
    #[arg(long, value_name = "TIME", value_parser = wait, default_value = "30s")]
    pub limits_header_timeout: Duration,
    /// Time for a request's body
    #[arg(long, value_name = "TIME", value_parser = wait, default_value = "20s")]
    pub limits_body_timeout: Duration,
    /// Time for a request in all
    #[arg(long, value_name = "TIME", value_parser = wait, default_value = "30s")]
    pub limits_request_timeout: Duration,
    /// Time that a search waits for its `min_seq`
    #[arg(long, value_name = "TIME", value_parser = wait, default_value = "1s")]
    pub limits_min_seq_wait: Duration,
}

impl LimitArgs {
    pub fn limits(&self) -> Limits {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits {
            search: SearchLimits {
                limit: self.limits_limit,
                candidates: self.limits_candidates,
                ef: self.limits_ef,
                excluded_ids: self.limits_excluded_ids,
                query_items: self.limits_query_items,
                query_ids: self.limits_query_ids,
                why: self.limits_why,
                query_sources: self.limits_query_sources,
                exclude_sets: self.limits_exclude_sets,
                query_vectors: self.limits_query_vectors,
                json_depth: self.limits_json_depth,
            },
            body_bytes: size(self.limits_body_bytes),
            batch: self.limits_batch,
            answer_bytes: size(self.limits_answer_bytes),
            queue: self.limits_queue,
            copies: self.limits_copies,
            connections: self.limits_connections,
            header_timeout: self.limits_header_timeout,
            body_timeout: self.limits_body_timeout,
            request_timeout: self.limits_request_timeout,
            min_seq_wait: self.limits_min_seq_wait,
        }
    }
}

/// A time that a client has: with none, nobody could ask for anything.
fn wait(text: &str) -> Result<Duration, String> {
    let wait = time(text)?;
    let is_allowed = !wait.is_zero() && wait <= LONGEST;
    if is_allowed { Ok(wait) } else { Err(format!("{text:?} is not a time from 1ms to 24h")) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Serve {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn flags_left_out_are_the_defaults_of_the_library() {
        assert_eq!(Serve::parse_from(["serve"]).limits.limits(), Limits::default());
    }

    #[test]
    fn every_limit_of_the_documented_api_has_its_flag_and_changes() {
        let command = Serve::command();
        let documented = include_str!("../../../../docs/api.md").lines();
        let names: Vec<&str> = documented
            .filter_map(|line| line.strip_prefix("| `limits.")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names.len(), command.get_arguments().count());
        for name in names {
            let id = format!("limits_{name}");
            let argument = command.get_arguments().find(|argument| argument.get_id().as_str() == id);
            let argument = argument.unwrap_or_else(|| panic!("limits.{name} has no flag"));
            let is_time = argument.get_value_names().is_some_and(|names| names[0] == "TIME");
            let flag = format!("--limits-{}", name.replace('_', "-"));
            let limits =
                Serve::parse_from(["serve", &flag, if is_time { "7s" } else { "7" }]).limits.limits();
            let text = format!("{limits:?}");
            assert!(text.contains(&format!("{name}: 7")), "{flag}: {text}");
        }
    }

    #[test]
    fn limits_that_nobody_could_keep_are_refused() {
        for (flag, value, words) in [
            ("--limits-ef", "100001", "1 to 100000"),
            ("--limits-json-depth", "129", "1 to 128"),
            ("--limits-connections", "0", "1 to 10000000"),
            ("--limits-request-timeout", "0s", "1ms to 24h"),
        ] {
            let error = Serve::try_parse_from(["serve", flag, value]).expect_err("refused").to_string();
            assert!(error.contains(flag) && error.contains(value) && error.contains(words), "{error}");
        }
    }
}
