#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shortlist_fuzz::log_open::run(input));
