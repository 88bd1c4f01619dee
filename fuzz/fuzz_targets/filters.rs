//! Any filter: what parses gives for each item the same answer, whether all are asked at once or one by one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shortlist::attributes::{Filter, FilterContext};
use shortlist_fuzz::{index, json_of};

fuzz_target!(|input: &[u8]| {
    let Some(json) = json_of(input) else { return };
    let _ = Filter::parse_context(&json);
    let index = index();
    let Ok(filter) = Filter::parse(&json, &index.schema().attributes) else { return };
    let (view, context) = (index.view(0), FilterContext { now: 1_000, ..FilterContext::default() });
    let Ok(found) = filter.evaluate(view.columns(), &view, &context) else { return };
    for slot in 0..index.items() {
        let one = filter.matches(slot, view.columns(), &view, &context);
        assert_eq!(one.ok(), Some(found.contains(slot)), "item {slot}");
    }
});
